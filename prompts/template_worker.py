"""Renders templates of strangers for `template_process`, in a process of its own.

It answers one JSON line with another until its input ends. Of what is installed it needs jinja2 alone.
"""

import json
import resource
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import date
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2.sandbox import ImmutableSandboxedEnvironment


def main() -> None:
    settings = json.loads(sys.stdin.readline())
    sys.path.extend(path for path in settings["path"] if path not in sys.path)
    templates, today = settings["templates"], date.fromisoformat(settings["today"])
    is_chat = settings["kind"] == "chat"
    environment = make_chat_environment(templates, today) if is_chat else make_prompt_environment(templates)
    confine(settings["memory_bytes"])
    for line in sys.stdin:
        signal.setitimer(signal.ITIMER_PROF, settings["seconds"])
        reply = answer(environment, json.loads(line), settings["max_characters"])
        signal.setitimer(signal.ITIMER_PROF, 0)
        print(json.dumps(reply), flush=True)


def confine(memory_bytes: int) -> None:
    """Time that is spent ends the process, also in the middle of one long operation."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    for name, limit in (("FSIZE", 0), ("CORE", 0), ("NPROC", 0), ("AS", memory_bytes)):
        with suppress(ValueError, OSError):
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (limit, limit))


def answer(
    environment: "ImmutableSandboxedEnvironment", request: Mapping[str, Any], max_characters: int
) -> dict[str, Any]:
    """The text, or what the template did wrong."""
    try:
        text = environment.get_template(request["name"]).render(request["variables"])
    except MemoryError:
        return {"limit": "memory"}
    except Exception as exc:  # noqa: BLE001  (a template is a program of a stranger: it fails like one)
        return {"fault": describe(exc)}
    return {"text": text} if len(text) <= max_characters else {"limit": "characters"}


def describe(exc: Exception) -> dict[str, Any]:
    from jinja2 import TemplateNotFound, TemplateSyntaxError

    message = exc.message if isinstance(exc, TemplateSyntaxError) else str(exc)
    return {
        "kind": type(exc).__name__,
        "message": str(message)[:2000],
        "line": exc.lineno if isinstance(exc, TemplateSyntaxError) else None,
        "template": exc.name if isinstance(exc, TemplateNotFound) else None,
    }


def make_prompt_environment(templates: Mapping[str, str]) -> "ImmutableSandboxedEnvironment":
    """For our prompts and those in their place. It keeps the templates that it has compiled, which takes longer than to render them."""
    from jinja2 import DictLoader, StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(
        loader=DictLoader(templates), undefined=StrictUndefined, autoescape=False, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["json"] = _to_json
    return environment


def make_chat_environment(templates: Mapping[str, str], today: date) -> "ImmutableSandboxedEnvironment":
    """What transformers gives to chat templates; but `strftime_now` knows one day only, so that a row has one rendering."""
    import jinja2
    from jinja2.ext import Extension
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """`{% generation %}` marks what the assistant wrote; here it changes nothing."""

        tags = {"generation"}  # noqa: RUF012

        def parse(self, parser: "jinja2.parser.Parser") -> list["jinja2.nodes.Node"]:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    environment = ImmutableSandboxedEnvironment(
        loader=jinja2.DictLoader(templates),
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=[Generation, "jinja2.ext.loopcontrols"],
    )
    environment.filters["tojson"] = _to_json_as_transformers
    environment.globals |= {"raise_exception": _refuse, "strftime_now": today.strftime}
    environment.globals |= {"dict": _MakesDicts(), "namespace": _make_namespace}
    return environment


class _MakesDicts:
    """In place of the class, which has more to reach than its instances."""

    def __call__(self, *args: Any, **values: Any) -> dict[Any, Any]:
        return dict(*args, **values)

    def fromkeys(self, *args: Any) -> dict[Any, Any]:
        return dict.fromkeys(*args)


def _make_namespace(*args: Any, **values: Any) -> Any:
    from jinja2.exceptions import SecurityError
    from jinja2.utils import Namespace

    class SafeNamespace(Namespace):
        def __setitem__(self, name: str, value: Any) -> None:
            if name.startswith("_"):
                raise SecurityError(f"names in a namespace do not begin with _: {name!r}")
            super().__setitem__(name, value)

    made = SafeNamespace()
    for name, value in dict(*args, **values).items():
        made[name] = value
    return made


def _refuse(message: str) -> None:
    from jinja2 import TemplateError

    raise TemplateError(message)


def _to_json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _to_json_as_transformers(
    x: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
