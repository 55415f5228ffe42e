"""Settings from YAML files and from `--set`: every mistake is told at once, with file and key."""

from collections.abc import Mapping
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

from pydantic import ValidationError

from pada_agent.core.config import RunConfig, Settings
from pada_agent.core.errors import ConfigError
from pada_agent.core.yaml_values import YamlProblem, read_texts, read_values

SettingsT = TypeVar("SettingsT", bound=Settings)


def parse_config(values: dict[str, Any], *, origin: str) -> RunConfig:
    """Validate settings.

    Raises:
        ConfigError: one line per problem, each with `origin` and the key.
    """
    return parse_settings(RunConfig, values, origin=origin)


def parse_settings(kind: type[SettingsT], values: dict[str, Any], *, origin: str) -> SettingsT:
    """Validate settings of any kind.

    Raises:
        ConfigError: one line per problem, each with `origin` and the key.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as exc:
        lines = [f"{origin}: {'.'.join(map(str, e['loc'])) or '(top level)'}: {e['msg']}" for e in exc.errors()]
        raise ConfigError("\n".join(lines)) from exc


def load_config(path: Path, overrides: list[str] | None = None) -> RunConfig:
    """Read a YAML file; `overrides` are `a.b=value` with YAML values. Data paths stay relative to the working directory.

    Raises:
        ConfigError: no such file, not YAML, not a mapping, or invalid values.
    """
    values = read_yaml(path)
    for override in overrides or []:
        values = apply_override(values, override)
    return parse_local_config(values, origin=str(path))


def parse_local_config(values: dict[str, Any], *, origin: str) -> RunConfig:
    """Validate settings that a person of this machine wrote: they may name a file in place of its text.

    Raises:
        ConfigError: as `parse_config`, or a chat template that cannot be read.
    """
    student = values.get("student")
    if not isinstance(student, dict) or not isinstance(name := student.get("chat_template"), str) or "{" in name:
        return parse_config(values, origin=origin)
    try:
        template = _decode(Path(name), Path(name).read_bytes())
    except (OSError, ValueError) as exc:
        raise ConfigError(
            f"{origin}: student.chat_template: {name!r} is neither the text of a Jinja template nor a readable file"
            f" ({exc})"
        ) from exc
    return parse_config(set_value(values, "student.chat_template", template, origin=origin), origin=origin)


def change_config(config: RunConfig, overrides: list[str]) -> RunConfig:
    """The settings with `a.b=value` set.

    Raises:
        ConfigError: not of that form, or invalid values.
    """
    values = config.model_dump(mode="json")
    for override in overrides:
        values = apply_override(values, override)
    return parse_config(values, origin="--set")


def read_yaml(path: Path, kind: type[Settings] = RunConfig) -> dict[str, Any]:
    """The mapping in a YAML file; what is a text in settings of `kind` is read as it is written.

    Raises:
        ConfigError: no such file, not YAML, or not a mapping.
    """
    try:
        content = path.read_bytes()
    except OSError as exc:
        raise ConfigError(
            f"{path}: cannot be read ({exc.strerror}). Give the path of a YAML file; There are examples in configs/."
        ) from exc
    text = _decode(path, content)
    try:
        values = read_values(text)
        if values is None:
            return {}
        if isinstance(values, dict):
            found: dict[str, Any] = _take_texts(values, read_texts(text), kind)
            return found
    except YamlProblem as exc:
        raise ConfigError(f"{path}{exc.place}: not valid YAML: {exc}") from exc
    raise ConfigError(f"{path}: expected a mapping of settings, found {type(values).__name__}")


def _decode(path: Path, content: bytes) -> str:
    """UTF-8 with or without a byte order mark, and UTF-16 with one, as editors on Windows write it."""
    encoding = "utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as exc:
        line = content[: exc.start].count(b"\n") + 1
        raise ConfigError(
            f"{path}:{line}: byte {content[exc.start : exc.start + 1].hex()} is not {encoding.upper().removesuffix('-SIG')}: the file is in another"
            " encoding, such as Windows-1252. Save it as UTF-8."
        ) from exc


def _take_texts(values: Any, texts: Any, kind: Any) -> Any:
    """The values, with the text as written wherever a setting is a text and YAML made something else of it.

    What is left empty is an empty text, or a group or mapping without entries.
    """
    if kind is None:
        return values
    kinds = _alternatives(kind)
    if isinstance(values, dict) and isinstance(texts, dict):
        return {key: _take_texts(value, texts.get(key), _kind_below(kind, key)) for key, value in values.items()}
    if isinstance(values, list) and isinstance(texts, list):
        item = next((get_args(k)[0] for k in kinds if get_origin(k) in (list, tuple)), None)
        return [_take_texts(value, text, item) for value, text in zip(values, texts, strict=True)]
    if values is None and texts == "" and type(None) not in kinds:
        return "" if str in kinds else {} if any(map(_is_group, kinds)) else None
    is_other = isinstance(values, bool | int | float) and isinstance(texts, str)
    return texts if is_other and str in kinds and not {bool, int, float} & set(kinds) else values


def apply_override(values: dict[str, Any], override: str) -> dict[str, Any]:
    """A copy of `values` with `a.b=value` set. A setting that is a text takes the value as it is written.

    Raises:
        ConfigError: no `=`, a value that is not YAML, or a key under something that is not a group.
    """
    key, equals, text = override.partition("=")
    if not equals or not all(key.split(".")):
        raise ConfigError(f"--set {override}: expected key=value, e.g. --set loop.max_iterations=2")
    return set_value(values, key, _read_value(key, text), origin=f"--set {override}")


def _read_value(key: str, text: str) -> Any:
    kind: Any = RunConfig
    for name in key.split("."):
        kind = _kind_below(kind, name)
    kinds = _alternatives(kind)
    is_quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "\"'"
    if str in kinds and not is_quoted and not (type(None) in kinds and text in ("", "null", "~")):
        return text
    try:
        return _take_texts(read_values(text), read_texts(text) if text else "", kind)
    except YamlProblem as exc:
        raise ConfigError(f"--set {key}={text}: not a YAML value ({exc}). Put text in quotes.") from exc


def _kind_below(kind: Any, name: str) -> Any:
    """The type of what `name` names in settings or a mapping of this type; None where that is not known."""
    for alternative in _alternatives(kind):
        if _is_group(alternative) and get_origin(alternative) is None:
            field = alternative.model_fields.get(name)
            return field and field.annotation
        if get_origin(alternative) is dict:
            return get_args(alternative)[1]
    return None


def _is_group(kind: Any) -> bool:
    return get_origin(kind) is dict or (isinstance(kind, type) and issubclass(kind, Settings))


def _alternatives(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)


def set_value(values: dict[str, Any], key: str, value: Any, *, origin: str) -> dict[str, Any]:
    """A copy of `values` with `a.b` set.

    Raises:
        ConfigError: a key under something that is not a group.
    """
    head, _, rest = key.partition(".")
    if not rest:
        return {**values, head: value}
    inner = values.get(head) or {}
    if not isinstance(inner, dict):
        raise ConfigError(f"{origin}: {head} is a value, not a group")
    return {**values, head: set_value(inner, rest, value, origin=origin)}


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings by dotted key, as `--set` names them. An empty group has no key."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat
