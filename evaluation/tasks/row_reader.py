"""Reads fields from raw rows, with errors that name the row and the field."""

import hashlib
import re
from collections.abc import Mapping
from typing import Any, NoReturn

from pada_agent.core.errors import RowError
from pada_agent.core.raw_rows import RawRow
from pada_agent.core.records import Example, Turn
from pada_agent.core.task_config import Columns
from pada_agent.evaluation.rows.cells import (
    KEEPS_LISTS,
    cell_text,
    is_broken_list,
    is_conversation,
    is_empty,
    parse_nested,
    to_nfc,
)
from pada_agent.evaluation.rows.conversation import (
    Conversation,
    ConversationProblem,
    read_conversation,
    read_pairs,
)
from pada_agent.evaluation.rows.forms import settle_form


class RowReader:
    """The fields of one row under our names.

    The file's form says which columns hold them. For a row on its own, the form is that of this row.
    """

    def __init__(self, row: RawRow, columns: Columns) -> None:
        self.where = row.where
        self.fields = row.fields
        self._doubt = row.doubt
        self._named = columns
        self.settled = row.settled or settle_form([row], columns=columns, fields={"question": ("question",)})
        self._turns = self._read_turns()

    def has(self, name: str) -> bool:
        """Whether the field exists and holds a value. Null, NaN and blank texts do not count."""
        return any(not self._is_empty(value) for value in self._values(name))

    def value(self, *names: str) -> Any:
        """The value of the first of these fields that exists."""
        name = self.first(*names)
        return next(value for value in self._values(name) if not self._is_empty(value))

    def nested(self, name: str) -> Any:
        """The value of a field whose text may be a list or an object.

        Raises:
            RowError: it looks like one, but cannot be read with certainty.
        """
        value = self.value(name)
        if is_broken_list(value):
            self.fail(name, f"expected a list that can be read: {KEEPS_LISTS}")
        return parse_nested(value)

    def text(self, *names: str) -> str:
        """The first of these fields that exists, as a non-empty string in NFC. Several columns are joined by a blank line."""
        return to_nfc(self.verbatim(*names))

    def verbatim(self, *names: str) -> str:
        """Like `text`, but with the exact characters of the file: for code, and for names that are looked up elsewhere."""
        name = self.first(*names)
        texts = [cell_text(value) for value in self._values(name) if not self._is_empty(value)]
        if None in texts:
            value = next(v for v in self._values(name) if not self._is_empty(v) and cell_text(v) is None)
            self.fail(name, f"expected text, not {type(value).__name__}")
        return "\n\n".join(text for text in texts if text is not None)

    def first(self, *names: str) -> str:
        """Our name of the first of these fields that exists."""
        for name in names:
            if self.has(name):
                return name
        raise self._missing(names)

    def columns(self, name: str) -> tuple[str, ...]:
        """The columns that hold a field."""
        named = self._named.get(name, name)
        return self.settled.columns.get(name) or ((named,) if isinstance(named, str) else named)

    def is_called(self, name: str, other: str) -> bool:
        """Whether the file or `task.columns` calls the field `other`, which is one of its names."""
        if other in self._named and (name == other or name not in self._named):
            return True
        return [_BETWEEN.sub("", column).casefold() for column in self.columns(name)] == [other]

    def fail(self, name: str, expectation: str) -> NoReturn:
        """Refuse the row because of what field `name` contains."""
        value = next(iter(self._values(name)), None)
        reason = f"field {self.name(name)} is {_shorten(value)}, but {expectation}"
        raise RowError(self.where, reason, f"{name}: {_shorten_kind(expectation)}", _shorten(value, 40))

    def row_id(self, prompt: str, answer: str) -> str:
        """The row's own id, or a short hash of its content."""
        if self.has("id") and ("id" in self._named or cell_text(self.value("id")) is not None):
            return self.text("id").strip()
        before = [self.system, *((t.role, t.content) for t in self.history)] if self.system or self.history else []
        content = f"{prompt}\0{answer}" + (f"\0{before}" if before else "")
        return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()[:12]

    def with_turns(self, example: Example) -> Example:
        """The example with the row's own system turn and earlier turns, if it has any."""
        if self.system is None and not self.history:
            return example
        return example.model_copy(update={"system": self.system, "history": self.history})

    @property
    def system(self) -> str | None:
        """The row's own system turn."""
        if self._turns and self._turns.system:
            return self._turns.system
        return self.text("system") if "system" in self.settled.columns and self.has("system") else None

    @property
    def history(self) -> tuple[Turn, ...]:
        """The turns before the question."""
        if self._turns:
            return self._turns.history
        if "history" not in self.settled.columns or not self.has("history") or self.value("history") == []:
            return ()
        try:
            return read_pairs(self.value("history"))
        except ConversationProblem as exc:
            self.fail("history", str(exc))

    def _values(self, name: str) -> list[Any]:
        if self._turns and self._in_turns(name):
            return [self._turns.question if name == "question" else self._turns.answer]
        return [self.fields[column] for column in self.columns(name) if column in self.fields]

    def _is_empty(self, value: Any) -> bool:
        return is_empty(value, self.settled.missing)

    def name(self, name: str) -> str:
        """What the file calls a field, for an error message."""
        columns = (str(self.settled.conversation),) if self._in_turns(name) else self.columns(name)
        return " + ".join(map(repr, columns))

    def _read_turns(self) -> Conversation | None:
        """The turns. If a completion is also a list of turns, as in TRL, it comes last."""
        column = self.settled.conversation
        if column is None:
            return None
        value = self.fields.get(column)
        if self._is_empty(value):
            raise RowError(self.where, f"field {column!r} is empty: {_shorten(value)}. Drop the row.", "no turns")
        try:
            return read_conversation([*parse_nested(value), *self._completion()] if self._completion() else value)
        except ConversationProblem as exc:
            reason = f"field {column!r} is {_shorten(value)}, but {exc}"
            raise RowError(self.where, reason, _shorten_kind(str(exc))) from exc

    def _completion(self) -> list[Any]:
        value = self.fields.get(next(iter(self.settled.columns.get("answer", ())), ""))
        return list(parse_nested(value)) if is_conversation(value) else []

    def _in_turns(self, name: str) -> bool:
        if self._turns is None or name not in ("question", "answer"):
            return False
        if name == "question":
            return True
        return self._turns.answer is not None and ("answer" not in self.settled.columns or bool(self._completion()))

    def _missing(self, names: tuple[str, ...]) -> RowError:
        if self._turns and self._turns.answer is None and names == ("answer",) and "answer" not in self.settled.columns:
            column = str(self.settled.conversation)
            found = f"field {column!r} is {_shorten(self.fields[column])}"
            reason = f"{found}, but expected the assistant's answer as the last turn"
            return RowError(self.where, reason, "no answer in the turns")
        wanted = " or ".join(self.name(name) for name in names)
        blank = [(name, value) for name in names for value in self._values(name)]
        if blank:
            name, value = blank[0]
            counted = " (task.missing counts that as an empty cell)" if not is_empty(value) else ""
            reason = f"field {self.name(name)} is empty: {_shorten(value)}{counted}. Fill it in, or drop the row."
            return RowError(self.where, reason, f"{name} is empty")
        reason = f"field {wanted} is missing; the row has {_list_names(self.fields)}."
        return RowError(self.where, f"{reason} {self._doubt or _NAME_IT}", f"{wanted} is missing")


_NAME_IT = "Name the right column in task.columns."
_N_NAMES = 12
_BETWEEN = re.compile(r"[\W_]+")


def _list_names(fields: Mapping[str, Any]) -> str:
    """Names as they are in the file. Long ones are cut."""
    names = [name if len(name) <= 60 else f"{name[:60]}…" for name in list(fields)[:_N_NAMES]]
    return ", ".join(names) + (f", … ({len(fields)})" if len(fields) > _N_NAMES else "") if names else "no fields"


def _shorten_kind(expectation: str) -> str:
    """The part of a message that is the same for many rows: without a turn's number in brackets or a reason after a colon."""
    return re.split(r" \(|: ", expectation)[0]


def _shorten(value: Any, limit: int = 120) -> str:
    text = repr(value)
    return text if len(text) <= limit else text[:limit] + "…"
