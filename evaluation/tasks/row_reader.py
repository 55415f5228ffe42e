"""Reading fields out of raw rows, with errors that say which row and which field."""

import hashlib
import math
from collections.abc import Mapping
from typing import Any, NoReturn

from pada_agent.core.errors import DatasetError
from pada_agent.core.ports import RawRow


class RowReader:
    """One row's fields under our names: `columns` maps them to theirs, a `messages` row gives `question` and `answer`."""

    def __init__(self, row: RawRow, columns: Mapping[str, str]) -> None:
        self._where = row.where
        self._columns = columns
        self._fields = row.fields
        messages = row.fields.get(self._column("messages"))
        if messages is not None:
            self._fields = {**row.fields, **self._read_turns(messages)}
            self._columns = {k: v for k, v in columns.items() if k not in ("question", "answer")}

    def has(self, name: str) -> bool:
        """Whether the field is there and holds a value (null and NaN do not count)."""
        value = self._fields.get(self._column(name))
        return value is not None and not (isinstance(value, float) and math.isnan(value))

    def value(self, *names: str) -> Any:
        """The first of these fields that is there."""
        return self._fields[self._column(self.first(*names))]

    def text(self, *names: str) -> str:
        """The first of these fields that is there, as a non-empty string."""
        name = self.first(*names)
        value = self.value(name)
        if not isinstance(value, str | int | float) or isinstance(value, bool):
            self.fail(name, f"expected text, not {type(value).__name__}")
        if not str(value).strip():
            self.fail(name, "expected some text")
        return str(value)

    def first(self, *names: str) -> str:
        """Our name of the first of these fields that is there."""
        for name in names:
            if self.has(name):
                return name
        wanted = " or ".join(repr(self._column(name)) for name in names)
        raise DatasetError(
            f"{self._where}: field {wanted} is missing; the row has {', '.join(self._fields) or 'no fields'}. "
            "Name the right column in task.columns."
        )

    def fail(self, name: str, expectation: str) -> NoReturn:
        """Refuse the row for what stands in field `name`."""
        column = self._column(name)
        raise DatasetError(
            f"{self._where}: field {column!r} is {_shorten(self._fields.get(column))}, but {expectation}"
        )

    def row_id(self, prompt: str, answer: str) -> str:
        """The row's own id, or a short hash of its content."""
        if self.has("id"):
            return str(self.value("id"))
        return hashlib.sha256(f"{prompt}\0{answer}".encode()).hexdigest()[:12]

    def _column(self, name: str) -> str:
        return self._columns.get(name, name)

    def _read_turns(self, messages: Any) -> dict[str, str]:
        turns = list(messages) if isinstance(messages, list | tuple) else []
        roles = [turn.get("role") if isinstance(turn, Mapping) else None for turn in turns]
        if roles != ["user", "assistant"]:
            self.fail("messages", "expected one user turn and then one assistant turn")
        question, answer = (turn.get("content") for turn in turns)
        if not isinstance(question, str) or not isinstance(answer, str):
            self.fail("messages", "expected plain strings as content")
        return {"question": question, "answer": answer}


def _shorten(value: Any, limit: int = 120) -> str:
    text = repr(value)
    return text if len(text) <= limit else text[:limit] + "…"
