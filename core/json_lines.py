"""Files of one JSON record a line."""

from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from pada_agent.core.damage import is_no_json, refuse_unread, word_damage
from pada_agent.core.errors import ArtifactError

ModelT = TypeVar("ModelT", bound=BaseModel)


def read_json_lines(
    path: Path,
    kind: type[ModelT],
    *,
    if_missing: str = "",
    if_damaged: str = "",
    if_unfit: str = "",
    limit: int | None = None,
) -> list[ModelT]:
    """The records of a file, in order; at most `limit`.

    Args:
        if_missing: what to do then, a sentence for the error.
        if_damaged: the same, of a file that holds something else.
        if_unfit: the same, of lines that are JSON but no such records. Defaults to `if_damaged`.

    Raises:
        ArtifactError: missing, not readable, not UTF-8, or a line that is no such record; names file, line and field.
    """
    try:
        lines = path.read_bytes().decode("utf-8").split("\n")
    except FileNotFoundError as exc:
        raise ArtifactError(f"{path}: missing. {if_missing}".rstrip()) from exc
    except OSError as exc:
        raise refuse_unread(path, exc) from exc
    except UnicodeDecodeError as exc:
        raise _damaged(path, str(exc), if_damaged) from exc
    lines = lines if lines[-1] else lines[:-1]
    return [_parse(path, number, line, kind, if_damaged, if_unfit) for number, line in enumerate(lines[:limit], 1)]


def to_json_lines(rows: Iterable[BaseModel]) -> str:
    """The content of such a file."""
    return "".join(row.model_dump_json() + "\n" for row in rows)


def _parse(path: Path, number: int, line: str, kind: type[ModelT], if_damaged: str, if_unfit: str) -> ModelT:
    try:
        return kind.model_validate_json(line)
    except ValidationError as exc:
        if if_unfit and not is_no_json(exc):
            raise ArtifactError(
                f"{path}: line {number} does not fit this version ({word_damage(exc)}). {if_unfit}"
            ) from exc
        raise _damaged(path, f"line {number}: {word_damage(exc)}", if_damaged) from exc


def _damaged(path: Path, what: str, if_damaged: str) -> ArtifactError:
    return ArtifactError(f"{path}: damaged ({what}). {if_damaged}".rstrip())
