"""What a check of rows reports, and how it names places in files."""

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
from pada_agent.core.wording import list_some

Kind = Literal["rows", "leak", "settings", "machine"]

ERRORS: Mapping[Kind, type[PadaError]] = {
    "rows": DatasetError,
    "leak": LeakageError,
    "settings": ConfigError,
    "machine": SandboxError,
}
"""The error that a run ends with, by what its findings are about."""


class Finding(Record):
    """One thing to know before anything is computed."""

    text: str
    """A sentence that names the file, the line, and what to do."""
    stops: bool = False
    """Whether a run would otherwise fail later, or its result would mean nothing."""
    kind: Kind = "rows"
    """What the finding is about."""


class Pair(Record):
    """Two rows that look the same to the student, each by file and line."""

    where: str
    other: str


def stop(text: str, kind: Kind = "rows") -> Finding:
    """A finding that ends a run before it begins."""
    return Finding(text=text, stops=True, kind=kind)


def blame(error: PadaError) -> Finding:
    """The finding for an error that would end the run. Its kind is `settings` unless the error is about rows or the machine."""
    kinds = (kind for kind, cause in ERRORS.items() if type(error) is cause)
    return stop(str(error), next(kinds, "settings"))


def warn(text: str) -> Finding:
    """A finding that does not stop the run."""
    return Finding(text=text)


def list_pairs(pairs: Sequence[Pair]) -> str:
    """The pairs as text, such as `a.jsonl:201 = a.jsonl:18`."""
    return list_some([f"{pair.where} = {pair.other}" for pair in pairs])
