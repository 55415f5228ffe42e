"""Reads settings from YAML files and `--set`, and reports all mistakes at once, with file and key."""

import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from pydantic import ValidationError

from pada_agent.core.config import PromptsConfig, RunConfig, Settings
from pada_agent.core.errors import ConfigError
from pada_agent.core.setting_kinds import (
    alternatives,
    find_odd_values,
    is_group,
    is_settings,
    kind_at,
    kind_below,
    kind_of_items,
)
from pada_agent.core.setting_problems import list_problems
from pada_agent.core.setting_texts import is_template
from pada_agent.core.yaml_values import NULLS, YamlProblem, read_texts, read_values

SHOWN_CHARACTERS = 100
"""Maximum number of characters of a key or value in an error."""

_ROLES = ("analyst", "generator", "judge")
_PATHS = (
    *("runs_folder", "data.train", "data.validation", "data.test", "data.held_back", "task.database"),
    *("student.model", "models.embedder"),
    *(f"models.{role}.model" for role in _ROLES),
)
"""Settings that may name a file or folder."""
_TEMPLATES = ("student.chat_template", *(f"prompts.{name}" for name in PromptsConfig.model_fields))
"""Settings that hold a template's text or name its file."""
_LOCAL = "local:"

_ROWS = re.compile(r".*\.(jsonl|ndjson|csv|tsv|parquet)(\.gz)?", re.IGNORECASE)
_ROWS_FOUND = "these are rows, not settings. Name them in a settings file, under data.train, and give that file"

Options = Mapping[str, str]
"""Options of the command line, such as `--set`, by the key of the setting that they change."""
SettingsT = TypeVar("SettingsT", bound=Settings)


def parse_config(values: dict[str, Any], *, origin: str, options: Options = MappingProxyType({})) -> RunConfig:
    """Validate settings.

    Raises:
        ConfigError: one line per problem, each with the key and where it is from.
    """
    return parse_settings(RunConfig, values, origin=origin, options=options)


def parse_settings(
    kind: type[SettingsT], values: dict[str, Any], *, origin: str, options: Options = MappingProxyType({})
) -> SettingsT:
    """Validate settings of any kind.

    Raises:
        ConfigError: one line per problem, each with the key and where it is from.
    """
    problems = dict(find_odd_values(values, kind))
    try:
        found = kind.model_validate(values)
    except ValidationError as exc:
        for key, problem in list_problems(exc.errors(), kind):
            problems.setdefault(key or "(top level)", problem)
    if problems:
        places = {key: f"{_find_origin(key, origin, options)}: {_show(key)}" for key in problems}
        raise ConfigError("\n".join(f"{places[key]}: {problem}" for key, problem in problems.items()))
    return found


def _find_origin(key: str, origin: str, options: Options) -> str:
    """The option that gave this setting, a group around it or a part of it; else `origin`."""
    given = (o for name, o in options.items() if f"{key}.".startswith(f"{name}.") or f"{name}.".startswith(f"{key}."))
    return next(given, origin)


def _show(text: str) -> str:
    """The text on one line that a terminal can show, with the middle of a long one left out."""
    shown = text if text.isprintable() else ascii(text)
    return shown if len(shown) <= SHOWN_CHARACTERS else f"{shown[: SHOWN_CHARACTERS - 1]}…"


def load_config(
    path: Path | str,
    overrides: list[str] | None = None,
    *,
    changes: Mapping[str, Any] = MappingProxyType({}),
    options: Options = MappingProxyType({}),
) -> RunConfig:
    """The settings in a YAML file. Data paths are relative to the working directory.

    Args:
        overrides: changes of the form `a.b=value`, with values in YAML.
        changes: settings by dotted key that take precedence over the file's, but not over `overrides`.
        options: options of the command line behind changes and overrides. Default of the latter: `--set`.

    Raises:
        ConfigError: the file does not exist or is not a YAML mapping, or values are not valid.
    """
    path = Path(path)
    values = read_yaml(path)
    if is_grid(values):
        raise ConfigError(f"{path}: this is a grid of runs, not one run: pada experiment {shlex.quote(str(path))}")
    for key, value in spell_out(changes):
        values = set_value(values, key, value, origin=options.get(key, str(path)))
    for override in overrides or []:
        values = apply_override(values, override)
    given = {override.partition("=")[0]: "--set" for override in overrides or []}
    return parse_local_config(values, origin=str(path), options={**given, **options})


def is_grid(values: Mapping[str, Any]) -> bool:
    """Whether these are the settings of an experiment, with tasks and arms."""
    return bool({"tasks", "arms"} & values.keys()) and not {"task", "data"} & values.keys()


def parse_local_config(values: dict[str, Any], *, origin: str, options: Options = MappingProxyType({})) -> RunConfig:
    """Validate settings written by a user of this machine, who may begin a path with `~` and name a file instead of a template's text.

    Raises:
        ConfigError: as for `parse_config`; also if a template cannot be read.
    """
    for key in _PATHS:
        if isinstance(text := _find_value(values, key), str):
            values = set_value(values, key, expand_home(text), origin=origin)
    for key in _TEMPLATES:
        if isinstance(text := _find_value(values, key), str) and text and "{" not in text:
            values = set_value(
                values, key, _read_template(text, key, _find_origin(key, origin, options)), origin=origin
            )
    return parse_config(values, origin=origin, options=options)


def _read_template(name: str, key: str, origin: str) -> str:
    path = Path(expand_home(name))
    try:
        text = _decode(path, path.read_bytes())
    except (OSError, ValueError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else exc
        raise ConfigError(
            f"{origin}: {key}: {_show(name)!r} is neither the text of a Jinja template nor a readable file ({why})"
        ) from exc
    if not is_template(text):
        raise ConfigError(
            f"{origin}: {key}: {name}: contains no Jinja template: nothing in it is in {{{{ }}}} or {{% %}}"
        )
    return text


def expand_home(path: str) -> str:
    """The path with `~` replaced by the user's folder, also in the name of an embedded model (`local:~/my.gguf`)."""
    if path.startswith(f"{_LOCAL}~"):
        return _LOCAL + expand_home(path.removeprefix(_LOCAL))
    try:
        return str(Path(path).expanduser()) if path.startswith("~") else path
    except RuntimeError:  # no such user
        return path


def find_local_names(config: RunConfig) -> tuple[str, ...]:
    """The values of settings that may name a file or folder of inputs. Those of `data` may end with a slice."""
    values = config.model_dump(mode="json")
    keys = (key for key in _PATHS if key != "runs_folder")
    found = (_find_value(values, key) for key in keys)
    return tuple(text.removeprefix(_LOCAL) for text in found if text)


def _find_value(values: Any, key: str) -> Any:
    for name in key.split("."):
        values = values.get(name) if isinstance(values, dict) else None
    return values


def change_config(config: RunConfig, overrides: list[str]) -> RunConfig:
    """The settings with changes of the form `a.b=value`.

    Raises:
        ConfigError: a change does not have that form, or a value is not valid.
    """
    values = list_values(config)
    for override in overrides:
        values = apply_override(values, override)
    return parse_local_config(values, origin="--set")


def list_values(config: RunConfig) -> dict[str, Any]:
    """The settings as JSON values to change and validate again. Timeouts that follow from `economy` are left out, so that they still do."""
    usual = {role: {"timeout_seconds"} for role in _ROLES if getattr(config.models, role).has_usual_time}
    return config.model_dump(mode="json", exclude={"models": usual})


def read_yaml(path: Path, kind: type[Settings] = RunConfig) -> dict[str, Any]:
    """The mapping in a YAML file. Settings of `kind` that are texts are read as they are written.

    Raises:
        ConfigError: the file does not exist, or is not a YAML mapping.
    """
    if _ROWS.fullmatch(path.name):
        raise ConfigError(f"{path}: {_ROWS_FOUND}")
    try:
        content = path.read_bytes()
    except OSError as exc:
        raise ConfigError(
            f"{path}: cannot be read ({exc.strerror}). Give the path of a YAML file; there are examples in configs/."
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
    if isinstance(values, list) and values and isinstance(values[0], dict):
        raise ConfigError(f"{path}: {_ROWS_FOUND}")
    raise ConfigError(
        f"{path}: expected a mapping of settings, found {type(values).__name__}. Write each as `key: value`, with a space after the"
        " colon."
    )


def _decode(path: Path, content: bytes) -> str:
    """UTF-8 with or without a byte order mark, or UTF-16 with one, as editors on Windows write it."""
    encoding = "utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as exc:
        line = content[: exc.start].count(b"\n") + 1
        raise ConfigError(
            f"{path}:{line}: byte {content[exc.start : exc.start + 1].hex()} is not {encoding.upper().removesuffix('-SIG')}: the file is in another"
            " encoding, such as Windows-1252. Save it as UTF-8."
        ) from exc
    before, zero, _ = text.partition("\0")
    if zero:
        line = before.count("\n") + 1
        raise ConfigError(
            f"{path}:{line}: found a null character: this is not a text file, or not UTF-8. Save it as UTF-8."
        )
    return text


def _take_texts(values: Any, texts: Any, kind: Any) -> Any:
    """The values, with the original text wherever a setting is a text and YAML turned it into something else.

    A setting that is left empty is null if it may be, otherwise an empty text, or a group or mapping without entries.
    """
    if kind is None:
        return values
    kinds = alternatives(kind)
    if isinstance(values, dict) and isinstance(texts, dict):
        return {key: _take_texts(value, texts.get(key), kind_below(kind, key)) for key, value in values.items()}
    if isinstance(values, list) and isinstance(texts, list):
        item = kind_of_items(kind) or (str if any(map(is_group, kinds)) else None)  # task.labels: the keys alone
        return [_take_texts(value, text, item) for value, text in zip(values, texts, strict=True)]
    if values is None and texts == "" and type(None) not in kinds:
        return "" if str in kinds else {} if any(map(is_group, kinds)) else None
    is_other = isinstance(values, bool | int | float) and isinstance(texts, str)
    return texts if is_other and str in kinds and not {bool, int, float} & set(kinds) else values


def apply_override(values: dict[str, Any], override: str) -> dict[str, Any]:
    """A copy of `values` with the change `a.b=value`. For a setting that is a text, the value is used as it is written. For a group, the settings that
    it names are changed, and the others stay.

    Raises:
        ConfigError: there is no `=`, the value is not YAML, or the key is below something that is not a group.
    """
    key, equals, text = override.partition("=")
    if not equals or not all(key.split(".")):
        raise ConfigError(f"--set {override}: expected key=value, e.g. --set loop.max_iterations=2")
    for name, value in spell_out({key: _read_value(key, text)}):
        values = set_value(values, name, value, origin=f"--set {override}")
    return values


def spell_out(settings: Mapping[str, Any], kind: Any = RunConfig) -> Iterator[tuple[str, Any]]:
    """The settings one by one, with dotted keys: `lora: {rank: 8}` gives `lora.rank`.

    A mapping that is the value of one setting, such as `task.labels`, stays whole.
    """
    for key, value in settings.items():
        below = kind_at(kind, str(key))
        if isinstance(value, Mapping) and any(map(is_settings, alternatives(below))):
            yield from ((f"{key}.{name}", inner) for name, inner in spell_out(value, below))
        else:
            yield str(key), value


def _read_value(key: str, text: str) -> Any:
    kind = kind_at(RunConfig, key)
    kinds = alternatives(kind)
    is_quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "\"'"
    if str in kinds and not is_quoted and not (type(None) in kinds and text in NULLS):
        return text
    try:
        return _take_texts(read_values(text), read_texts(text) if text else "", kind)
    except YamlProblem as exc:
        raise ConfigError(f"--set {_show(f'{key}={text}')}: not a YAML value ({exc}). Put text in quotes.") from exc


def set_value(values: dict[str, Any], key: str, value: Any, *, origin: str) -> dict[str, Any]:
    """A copy of `values` with `a.b` set. A group is replaced as a whole (see `spell_out`).

    Raises:
        ConfigError: the key is below something that is not a group.
    """
    head, _, rest = key.partition(".")
    if not rest:
        return {**values, head: value}
    inner = values.get(head) or {}
    if not isinstance(inner, dict):
        raise ConfigError(f"{origin}: {head} is a value, not a group")
    return {**values, head: set_value(inner, rest, value, origin=origin)}


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings by dotted key, as in `--set`. An empty group has no key."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat
