"""Prompt templates: one file each in `templates/`, replaceable from settings, rendered in a sandbox."""

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, DictLoader, FileSystemLoader, StrictUndefined, TemplateNotFound
from jinja2.exceptions import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic_core import to_jsonable_python

from pada_agent.core.errors import PromptError
from pada_agent.core.suggestions import suggest

TEMPLATES = Path(__file__).parent / "templates"


def render(name: str, variables: Mapping[str, Any], overrides: Mapping[str, str] | None = None) -> str:
    """The text of template `name`; `overrides` maps template names to Jinja texts that replace ours.

    Variables become plain data first (records turn into mappings, properties are left behind): a method that a
    record inherits, such as pydantic's `parse_file`, must be out of a template's reach. The sandbox does not limit
    time or memory. `{{ value | json }}` writes JSON without HTML escapes.

    Raises:
        PromptError: no such template, a variable it lacks, a syntax error, or a forbidden access.
    """
    environment = _environment(tuple(sorted((overrides or {}).items())))
    try:
        return environment.get_template(f"{name}.j2").render(to_jsonable_python(dict(variables)))
    except TemplateNotFound as exc:
        raise PromptError(
            f"prompt {name!r}: there is no template {exc.name!r}. There are: {_listed(template_names())}.{suggest(exc.name, template_names())}"
        ) from exc
    except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError, RecursionError) as exc:
        line = f" (line {exc.lineno})" if getattr(exc, "lineno", None) else ""  # type: ignore[union-attr]
        raise PromptError(
            f"prompt {name!r}{line}: {exc}. It may use the variables: {_listed(sorted(variables))}"
        ) from exc


def template_text(name: str) -> str:
    """Our text of template `name`."""
    return (TEMPLATES / f"{name}.j2").read_text(encoding="utf-8")


def template_names() -> list[str]:
    """The templates that settings may override."""
    return sorted(path.stem for path in TEMPLATES.glob("*.j2"))


def check_overrides(overrides: Mapping[str, str]) -> None:
    """Find mistakes before a run starts; missing variables show only in `render`.

    Raises:
        PromptError: one line per override that names no template or does not parse.
    """
    known = template_names()
    problems = [
        f"prompts.{name}: no such template. There are: {_listed(known)}.{suggest(name, known)}"
        for name in overrides
        if name not in known
    ]
    for name, text in overrides.items():
        try:
            _environment(()).parse(text)
        except TemplateError as exc:
            problems.append(f"prompts.{name}: {exc}")
    if problems:
        raise PromptError("\n".join(problems))


@lru_cache(maxsize=16)
def _environment(overrides: tuple[tuple[str, str], ...]) -> ImmutableSandboxedEnvironment:
    """It keeps the templates that it has compiled, which takes longer than to render them."""
    replaced = DictLoader({f"{name}.j2": text for name, text in overrides})
    environment = ImmutableSandboxedEnvironment(
        loader=ChoiceLoader([replaced, FileSystemLoader(TEMPLATES)]),
        undefined=StrictUndefined,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["json"] = _to_json
    return environment


def _to_json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _listed(names: list[str]) -> str:
    return ", ".join(names) or "none"
