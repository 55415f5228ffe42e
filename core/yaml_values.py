"""YAML as people mean it: `yes` is a word, keys are texts, a key that appears twice is a mistake."""

import re
from typing import Any

import yaml
from yaml.composer import ComposerError as _ComposerError
from yaml.constructor import ConstructorError as _ConstructorError
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

MAX_VALUES = 100_000
"""Of a file, with what its aliases stand for."""

_MERGE = "tag:yaml.org,2002:merge"
_TEXT = "tag:yaml.org,2002:str"
NULLS = ("~", "null", "Null", "NULL")
_RESOLVERS = {
    "null": (f"{'|'.join(NULLS)}|", ["~", "n", "N", ""]),
    "bool": ("true|True|TRUE|false|False|FALSE", list("tTfF")),
    "int": ("[-+]?(0|[1-9][0-9]*)", list("-+0123456789")),
    "float": (
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+0123456789."),
    ),
}
"""What a plain scalar may be beside a text, and how it may begin."""

_ODD_INDENT = re.compile(r"^ *[\u00a0\u2000-\u200b\u202f\u3000]", re.MULTILINE)
"""Spaces of web pages and text processors, which YAML takes for letters."""

_ODD_BREAK = re.compile("[\x85\u2028\u2029]")
"""Ends of a line that YAML turns into ordinary ones, unless they are escaped."""


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
            if not node.flow_style and key.style is None and _ODD_INDENT.match(key.value):
                raise _ComposerError(None, None, f"the key {key.value!r} begins with a space", key.start_mark)
            if key.value in seen:
                raise _ComposerError(None, None, f"the key {key.value!r} appears twice", key.start_mark)
            seen.add(key.value)
            key.tag = _TEXT
        return node

    def construct_number(self, node: ScalarNode) -> int | float:
        read = self.construct_yaml_int if node.tag.endswith(":int") else self.construct_yaml_float
        try:
            number: int | float = read(node)
        except ValueError as exc:
            shown = node.value if len(node.value) <= 30 else f"{node.value[:30]}…"
            raise _ConstructorError(None, None, f"{shown} cannot be read as a number", node.start_mark) from exc
        return number

    def construct_text(self, node: ScalarNode) -> str:
        """The text, with surrogate pairs joined: JSON writes one character as two halves."""
        text = str(self.construct_scalar(node))
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


class _TextLoader(_Loader):
    """Every scalar as it is written."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012


class _Dumper(yaml.SafeDumper):
    """Quotes texts that `_Loader`, or a reader of YAML 1.1, would take for something else."""

    def represent_text(self, text: str) -> ScalarNode:
        is_odd = _ODD_INDENT.match(text) or _ODD_BREAK.search(text)
        node: ScalarNode = self.represent_scalar(_TEXT, text, style='"' if is_odd else None)
        return node


for _kind, (_pattern, _first) in _RESOLVERS.items():
    for _side in (_Loader, _Dumper):
        _side.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(f"(?:{_pattern})$"), _first)
_Dumper.add_representer(str, _Dumper.represent_text)
for _loader in (_Loader, _TextLoader):
    _loader.add_constructor(_TEXT, _loader.construct_text)
    for _kind in ("int", "float"):
        _loader.add_constructor(f"tag:yaml.org,2002:{_kind}", _loader.construct_number)
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


def write_values(values: Any) -> str:
    """JSON values as a YAML text from which `read_values` reads the same."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def _read(text: str, loader: type[yaml.SafeLoader]) -> Any:
    try:
        return _load(loader(text))
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        place = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise YamlProblem(_word(exc) + _doubt_spaces(text), place) from exc
    except RecursionError as exc:
        raise YamlProblem("lists and mappings are nested too deeply") from exc
    except (yaml.YAMLError, ValueError) as exc:
        raise YamlProblem(" ".join(str(exc).split())) from exc


def _load(loader: yaml.SafeLoader) -> Any:
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if _count_values(node, {}) > MAX_VALUES:
            raise _ComposerError(None, None, f"its aliases stand for more than {MAX_VALUES} values", node.start_mark)
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _count_values(node: Node, counted: dict[Node, int]) -> int:
    """Count the values in a node, including those that aliases repeat."""
    if node not in counted:
        counted[node] = 0  # while it is counted: what holds itself is found here again
        inner = [n for pair in node.value for n in pair] if isinstance(node, MappingNode) else node.value
        is_group = isinstance(node, MappingNode | SequenceNode)
        counted[node] = 1 + (sum(_count_values(n, counted) for n in inner) if is_group else 0)
    elif not counted[node]:
        raise _ComposerError(None, None, "a list or mapping contains itself through an alias", node.start_mark)
    return counted[node]


def _word(exc: yaml.MarkedYAMLError) -> str:
    problem = exc.problem or str(exc)
    if "'\\t'" in problem:
        return f"{problem}. Indent with spaces, not with tabs."
    slicing = ' Put a slice into quotes: "rows.csv[:60%]".' if "got '['" in problem else ""
    return f"{exc.context}: {problem}{slicing and f'.{slicing}'}" if exc.context else problem


def _doubt_spaces(text: str) -> str:
    found = _ODD_INDENT.search(text)
    line = text.count("\n", 0, found.start()) + 1 if found else 0
    return f". Line {line} is indented with non-breaking spaces: replace them with ordinary ones" if found else ""
