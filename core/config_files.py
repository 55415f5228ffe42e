"""Settings from YAML files and from `--set`: every mistake is told at once, with file and key."""

from collections.abc import Mapping
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import ValidationError

from pada_agent.core.config import RunConfig, Settings
from pada_agent.core.errors import ConfigError

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
            f"{origin}: student.chat_template: {name!r} is neither the text of a Jinja template nor a file that can be read"
            f" ({exc})"
        ) from exc
    return parse_config(set_value(values, "student.chat_template", template, origin=origin), origin=origin)


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        ConfigError: no such file, not YAML, or not a mapping.
    """
    try:
        values = load_yaml(_decode(path, path.read_bytes())) or {}
    except OSError as exc:
        raise ConfigError(
            f"{path}: cannot be read ({exc.strerror}). Give the path of a YAML file; configs/ holds some."
        ) from exc
    except (yaml.YAMLError, RecursionError) as exc:
        raise ConfigError(f"{path}: not valid YAML: {exc}") from exc
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected a mapping of settings, found {type(values).__name__}")
    return values


def _decode(path: Path, content: bytes) -> str:
    """UTF-8 with or without a byte order mark, and UTF-16 with one, as editors on Windows write it."""
    encoding = "utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as exc:
        line = content[: exc.start].count(b"\n") + 1
        raise ConfigError(
            f"{path}:{line}: byte {content[exc.start : exc.start + 1].hex()} is not {encoding.upper()}: the file is in another"
            " encoding, such as Windows-1252. Save it as UTF-8."
        ) from exc


class _Loader(yaml.SafeLoader):
    """YAML in which `yes`, `no`, `on` and `off` are words, as in YAML 1.2: labels are often called so."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool" or first in "tTfF"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def load_yaml(text: str) -> Any:
    """The value of a YAML text; settings that are switches still take yes and no.

    Raises:
        yaml.YAMLError: not YAML.
    """
    return yaml.load(text, Loader=_Loader)


def apply_override(values: dict[str, Any], override: str) -> dict[str, Any]:
    """A copy of `values` with `a.b=value` set. A setting that is a text takes the value as it is written.

    Raises:
        ConfigError: no `=`, a value that is not YAML, or a key under something that is not a group.
    """
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set {override}: expected key=value, e.g. --set loop.max_iterations=2")
    return set_value(values, key, _read_value(key, text), origin=f"--set {override}")


def _read_value(key: str, text: str) -> Any:
    kinds = _kinds_of(key)
    is_quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "\"'"
    if str in kinds and not is_quoted and not (type(None) in kinds and text in ("", "null", "~")):
        return text
    try:
        return load_yaml(text)
    except yaml.YAMLError as exc:
        problem = getattr(exc, "problem", None) or str(exc)
        raise ConfigError(f"--set {key}={text}: not a YAML value ({problem}). Put a text into quotes.") from exc


def _kinds_of(key: str) -> tuple[Any, ...]:
    """The types that a setting takes; none for a key that is no single setting, such as one of `task.labels`."""
    kind: Any = RunConfig
    for name in key.split("."):
        fields = kind.model_fields if isinstance(kind, type) and issubclass(kind, Settings) else {}
        if name not in fields:
            return ()
        kind = fields[name].annotation
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
