"""Rows as their files hold them, before a task reads them into examples."""

from typing import Any, Literal

from pydantic import Field

from pada_agent.core.records import Record


class Settled(Record):
    """How all rows of a file are read (decided in `evaluation.rows`)."""

    form: str = ""
    """What the rows look like, in words."""
    columns: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Our field name mapped to its columns. Several columns are joined, or each holds one option."""
    conversation: str | None = None
    """Column with turns, which contain question, answer, system turn and earlier turns. None if there is none."""
    gold_is: Literal["label", "letter", "text", "index", "index_from_1"] | None = None
    """How the rows name the right option."""
    decimal_mark: Literal[".", ","] = "."
    missing: tuple[str, ...] = ()
    """Texts that count as an empty cell."""


class RawRow(Record):
    """A row as its file holds it, and its place there."""

    where: str
    """File and line, such as `train.jsonl:17`."""
    fields: dict[str, Any]
    settled: Settled | None = None
    """How it is read. None until its file was examined as a whole."""
    doubt: str = ""
    """Why the fields may not be the intended ones, and what to do. Shown if a field is missing."""
