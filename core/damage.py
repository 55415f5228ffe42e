"""What is wrong with a file of ours that cannot be read or written, in a line."""

from pydantic import ValidationError

FREE_SPACE = "Free some space, then run the same command again: finished work is kept."
"""The way out of a full disk, whether or not a run's folder is kept."""


def word_damage(error: Exception) -> str:
    """The first thing that is wrong; pydantic's own words are several lines and name a web page."""
    if not isinstance(error, ValidationError):
        return " ".join(str(error).split())
    first = error.errors(include_url=False, include_context=False)[0]
    where = ".".join(map(str, first["loc"]))
    return f"{where}: {first['msg']}" if where else first["msg"]
