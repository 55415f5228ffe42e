"""YAML as people mean it: `yes` is a word, keys are texts, a key that appears twice is a mistake."""

import re
from typing import Any

import yaml
from yaml.composer import ComposerError as _ComposerError
from yaml.nodes import MappingNode, ScalarNode

_MERGE = "tag:yaml.org,2002:merge"
_TEXT = "tag:yaml.org,2002:str"
_RESOLVERS = {
    "null": ("~|null|Null|NULL|", ["~", "n", "N", ""]),
    "bool": ("true|True|TRUE|false|False|FALSE", list("tTfF")),
    "int": ("[-+]?(0|[1-9][0-9]*)", list("-+0123456789")),
    "float": (
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+0123456789."),
    ),
}
"""What a plain scalar may be beside a text, and how it may begin."""


class YamlProblem(Exception):
    """What is wrong with a text; `place` is `:line:column`, or empty."""

    def __init__(self, problem: str, place: str = "") -> None:
        super().__init__(problem)
        self.place = place


class _Loader(yaml.SafeLoader):
    """Scalars as in YAML 1.2's core schema: no `yes` and `off` as booleans, no dates, no numbers to the base of 60."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012  (PyYAML's name and form)

    def compose_mapping_node(self, anchor: Any) -> MappingNode:
        node: MappingNode = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key in (key for key, _ in node.value if key.tag != _MERGE):
            if not isinstance(key, ScalarNode):
                raise _ComposerError(None, None, "a key is a list or a mapping", key.start_mark)
            if key.value in seen:
                raise _ComposerError(None, None, f"the key {key.value!r} appears twice", key.start_mark)
            seen.add(key.value)
            key.tag = _TEXT
        return node


class _TextLoader(_Loader):
    """Every scalar as it is written."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012


for _kind, (_pattern, _first) in _RESOLVERS.items():
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(f"(?:{_pattern})$"), _first)
for _loader in (_Loader, _TextLoader):
    _loader.add_implicit_resolver(_MERGE, re.compile("<<$"), ["<"])


def read_values(text: str) -> Any:
    """The value that a YAML text holds.

    Raises:
        YamlProblem: it is none.
    """
    return _read(text, _Loader)


def read_texts(text: str) -> Any:
    """The same with every scalar as it is written.

    Raises:
        YamlProblem: it is none.
    """
    return _read(text, _TextLoader)


def _read(text: str, loader: type[yaml.SafeLoader]) -> Any:
    try:
        return yaml.load(text, Loader=loader)
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        place = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise YamlProblem(_word(exc), place) from exc
    except (yaml.YAMLError, RecursionError, ValueError) as exc:
        raise YamlProblem(" ".join(str(exc).split())) from exc


def _word(exc: yaml.MarkedYAMLError) -> str:
    problem = exc.problem or str(exc)
    if "'\\t'" in problem:
        return f"{problem}. Indent with spaces, not with tabs."
    return f"{exc.context}: {problem}" if exc.context else problem
