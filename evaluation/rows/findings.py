"""What a check of rows has to say, and how it names places."""

from collections.abc import Mapping, Sequence
from typing import Literal

from pada_agent.core.errors import (
    ConfigError,
    DatasetError,
    LeakageError,
    PadaError,
    SandboxError,
)
from pada_agent.core.records import Record

Kind = Literal["rows", "leak", "settings", "machine"]

ERRORS: Mapping[Kind, type[PadaError]] = {
    "rows": DatasetError,
    "leak": LeakageError,
    "settings": ConfigError,
    "machine": SandboxError,
}
"""What a run ends with, by what its findings are about."""

N_NAMED = 5
"""Places that a sentence names; the rest is counted."""


class Finding(Record):
    """One thing to know before anything is computed."""

    text: str
    """A sentence with the file, the line, and the way out."""
    stops: bool = False
    """A run with it would fail later, or its result would mean nothing."""
    kind: Kind = "rows"


class Pair(Record):
    """Two rows that are the same to the student, by file and line."""

    where: str
    other: str


def stop(text: str, kind: Kind = "rows") -> Finding:
    """A finding that ends a run before it begins."""
    return Finding(text=text, stops=True, kind=kind)


def blame(error: PadaError) -> Finding:
    """The finding of an error that would end the run; of settings, where it is not of rows or of the machine."""
    kinds = (kind for kind, cause in ERRORS.items() if type(error) is cause)
    return stop(str(error), next(kinds, "settings"))


def warn(text: str) -> Finding:
    """A finding that a run goes on with."""
    return Finding(text=text)


def list_some(items: Sequence[str], separator: str = ", ") -> str:
    """The first few, and how many more there are."""
    named = separator.join(items[:N_NAMED])
    return f"{named} and {len(items) - N_NAMED} more" if len(items) > N_NAMED else named


def list_pairs(pairs: Sequence[Pair]) -> str:
    """Such as `a.jsonl:201 = a.jsonl:18`."""
    return list_some([f"{pair.where} = {pair.other}" for pair in pairs])


def count(n: int, thing: str) -> str:
    """Such as `1 row` and `2 rows`."""
    return f"{n:,} {thing}" if n == 1 else f"{n:,} {thing}s"


def agree(n: int, one: str, many: str) -> str:
    """The verb for so many things."""
    return one if n == 1 else many
