"""Numbers, verbs and lists in messages. Pure functions."""

from collections.abc import Sequence

N_NAMED = 5
"""Maximum number of items that a sentence names. The others are counted."""


def count(n: int, thing: str) -> str:
    """A number with its noun, such as `1 row` or `2 rows`."""
    return f"{n:,} {thing}" if n == 1 else f"{n:,} {thing}s"


def agree(n: int, one: str, many: str) -> str:
    """The verb form for this number: `one` for 1, otherwise `many`."""
    return one if n == 1 else many


def list_some(items: Sequence[str]) -> str:
    """The first few items, and how many more there are."""
    named = ", ".join(items[:N_NAMED])
    return f"{named} and {len(items) - N_NAMED} more" if len(items) > N_NAMED else named
