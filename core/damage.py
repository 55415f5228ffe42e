"""What is wrong with a file of ours that cannot be read or written, in a line."""

from pathlib import Path
from stat import S_ISREG

from pydantic import ValidationError

from pada_agent.core.errors import ArtifactError

FREE_SPACE = "Free some space, then run the same command again: finished work is kept."
"""The way out of a full disk, whether or not a run's folder is kept."""


def word_damage(error: Exception) -> str:
    """The first thing that is wrong; pydantic's own words are several lines and name a web page."""
    if not isinstance(error, ValidationError):
        return " ".join(str(error).split())
    first = error.errors(include_url=False, include_context=False)[0]
    where = ".".join(map(str, first["loc"]))
    return f"{where}: {first['msg']}" if where else first["msg"]


def is_no_json(error: Exception) -> bool:
    """Whether pydantic refused a text because it is not JSON, rather than for what it says."""
    return isinstance(error, ValidationError) and any(found["type"] == "json_invalid" for found in error.errors())


def refuse_unread(path: Path, error: OSError) -> ArtifactError:
    """The error for a file that cannot be read now. It may be whole, so the error does not say to delete it."""
    return ArtifactError(
        f"{path}: cannot be read ({error.strerror or error}). Check its permissions and its disk, then try again."
    )


def is_file(path: Path) -> bool:
    """Whether there is such a file.

    Raises:
        ArtifactError: nobody can say, for example because its folder may not be searched.
    """
    try:
        return S_ISREG(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as exc:
        raise refuse_unread(path, exc) from exc


def tell_no_locks(error: OSError) -> str:
    """That files cannot be locked, which we and SQLite need, and the way out."""
    return (
        f"its file system cannot lock files ({error.strerror or error}). Choose a folder on another one, or have it mounted"
        " with locks (Lustre: -o flock)."
    )
