"""Finds out which columns of a file hold what. All rows of a file have the same form.

A column named in `task.columns` is used first, then one with the task's own field name, then the usual names: prompt
and completion, Alpaca's instruction (with its input) and output, text and label, lists of turns. Case, spaces and
underscores in names do not matter. If two columns could be the question or the answer, and differ, there is no
guessing: the file is refused.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from pada_agent.core.errors import DatasetError
from pada_agent.core.raw_rows import RawRow, Settled
from pada_agent.core.suggestions import suggest
from pada_agent.core.task_config import Columns
from pada_agent.evaluation.rows.answers import list_unread_parts
from pada_agent.evaluation.rows.cells import INVISIBLE, is_conversation, is_empty, is_turn, parse_nested, to_nfc
from pada_agent.evaluation.rows.conversation import list_unread, role_of
from pada_agent.evaluation.rows.options import list_unread_keys

_ONE_HOT = "There is a column for each label: write the name of each row's label into one column."

Fields = Mapping[str, tuple[str, ...]]
"""Our field name mapped to the column names that it goes by, in the order in which they are tried."""

ALIASES: Fields = {
    "question": (
        *("prompt", "instruction", "query", "problem"),
        *("input", "inputs", "text", "sentence", "message", "utterance"),
    ),
    "answer": (
        *("completion", "response", "output", "target", "targets"),
        *("label", "intent", "solution"),
    ),
}
"""Column names that others use, for fields whose own names do not occur."""

ANSWERS = ("answer", "answers")
"""Our names of the field that may hold an answer with its aliases."""
MARKED_RIGHT = ("correct", "correct_answer", "correct_option", "correct_choice", "gold")
"""Columns that hold what is right, and next to which `answer` may be what somebody answered (a quiz)."""
GOLD = ("label", "answer", *MARKED_RIGHT)
"""Columns of right answers. None of them comes before another."""

JOINED: Mapping[str, tuple[str, ...]] = {"instruction": ("input", "context")}
"""Columns that are appended to a question if they are filled (Alpaca, Dolly)."""
_ALPACA = ("instruction", "input", "output")
"""Columns next to which `text` is Alpaca's: it repeats them all."""

_SLICE = re.compile(r"\[[-\d%]*:[-\d%]*\]$", re.ASCII)

CONVERSATIONS = ("messages", "conversations", "conversation", "dialog", "dialogue", "chat", "prompt")
SYSTEM = ("system_prompt", "system_message")
"""Column names that are unambiguous. `system` alone may mean anything, except next to a prompt, an instruction or turns."""


class Header:
    """The columns of a file, found by name."""

    def __init__(self, rows: Sequence[RawRow], missing: Sequence[str] = (), labels: Collection[str] = ()) -> None:
        self.place = rows[0].where.rpartition(":")[0] if rows else ""
        self.doubt = rows[0].doubt if rows else ""
        self.names = tuple(dict.fromkeys(name for row in rows for name in row.fields))
        filled = {n for row in rows for n, value in row.fields.items() if not is_empty(value, missing)}
        self.filled = tuple(name for name in self.names if name in filled)
        self._rows = rows
        self.is_one_hot = len(labels) > 1 and all(self.find(label) for label in labels)
        self.doubt = _ONE_HOT if self.is_one_hot else self.doubt

    def find(self, name: str, *, filled: bool = False) -> str | None:
        """The column of this name, or the only one whose name differs merely in case, spaces and underscores. None if there is none.

        Args:
            filled: consider only columns that hold something.
        """
        allowed = self.filled if filled else self.names
        if name in allowed:
            return name
        alike = [column for column in allowed if _key(column) == _key(name)]
        return alike[0] if len(alike) == 1 else None

    def find_first(self, names: Iterable[str]) -> str | None:
        """The first of these columns that holds something. If all are empty, the first that exists."""
        names = tuple(names)
        found = (self.find(name, filled=filled) for filled in (True, False) for name in names)
        return next((column for column in found if column is not None), None)

    def find_all(self, names: Iterable[str]) -> list[str]:
        """All of these columns that hold something."""
        return [column for name in names if (column := self.find(name, filled=True)) is not None]

    def refuse_several(self, name: str, columns: Sequence[str]) -> None:
        """Refuse columns that could all be the field.

        Raises:
            DatasetError: the columns differ in some row.
        """
        if all(row.fields.get(column) == row.fields.get(columns[0]) for row in self._rows for column in columns[1:]):
            return
        joined = " A list joins columns." if name == "question" else ""
        raise DatasetError(
            f"{self.place}: the {name} could be {' or '.join(map(repr, columns))}. Say which: task.columns: {{{name}: …}}.{joined}"
        )


def settle_form(
    rows: Sequence[RawRow],
    *,
    columns: Columns,
    fields: Fields,
    missing: Sequence[str] = (),
    labels: Collection[str] = (),
) -> Settled:
    """The form of a file's rows, for a task that reads `fields`.

    Args:
        missing: texts that count as an empty cell.
        labels: the closed set of right answers, if there is one.

    Raises:
        DatasetError: `columns` names a column that does not exist, or several columns could be the question or the
            answer.
    """
    header = Header(rows, missing, labels)
    columns = _name_alike(columns, fields)
    conversation = _find_conversation(rows, header, columns)
    in_turns = _list_in_turns(rows, conversation)
    found = {
        name: _find_named(header, name, wanted)
        for name, wanted in columns.items()
        if name not in ("messages", "question" if conversation else "")
        and not (name in in_turns and _is_lost(header, wanted))
    }
    taken = {column for columns in found.values() for column in columns}
    wanted_of = {name: names for name, names in fields.items() if name not in found and name not in in_turns}
    own = {name: _find_own(header, name, names, taken) for name, names in wanted_of.items()}
    taken |= {column for column in own.values() if column is not None}
    for name, column in own.items():
        found[name] = (column,) if column is not None else _find_alias(header, name, taken)
    if header.is_one_hot and "answer" in fields and not found.get("answer") and "answer" not in in_turns:
        raise DatasetError(f"{header.place}: no column holds the answer. {header.doubt}")
    found |= _join_behind(header, found, columns)
    found |= _find_chat_columns(header, found, conversation, columns)
    return Settled(
        form=_name_form(found, conversation),
        columns={name: names for name, names in found.items() if names},
        conversation=conversation,
        missing=tuple(missing),
    )


def _name_alike(columns: Columns, fields: Fields) -> Columns:
    """Settings may call a field by any of its names: `{label: queue}` means the same as `{answer: queue}`."""
    ours = {name: field for field, names in fields.items() for name in names if name not in fields}
    return {
        **{ours.get(name, name): wanted for name, wanted in columns.items()},
        **{n: w for n, w in columns.items() if n in fields},
    }


def find_place(rows: Sequence[RawRow]) -> str:
    """The file or split that rows come from, without its slice. Empty if there are no rows."""
    return _SLICE.sub("", rows[0].where.rpartition(":")[0]) if rows else ""


def list_unused(rows: Sequence[RawRow], settled: Settled) -> tuple[str, ...]:
    """Columns that hold something but are not read, in order."""
    used = {column for names in settled.columns.values() for column in names} | {settled.conversation}
    keys = {
        **_list_keys(rows, [settled.conversation] if settled.conversation else [], list_unread),
        **_list_keys(rows, settled.columns.get("choices", ()), list_unread_keys),
        **_list_keys(rows, [c for name in ANSWERS for c in settled.columns.get(name, ())], list_unread_parts),
    }
    return (*(name for name in Header(rows, settled.missing).filled if name not in used), *keys)


def _list_keys(
    rows: Sequence[RawRow], columns: Sequence[str], list_unread_of: Callable[[Any], Iterable[str]]
) -> dict[str, None]:
    """The keys inside these columns that are not read, in order, such as `messages[].reasoning_content`."""
    return {f"{name}[].{key}": None for row in rows for name in columns for key in list_unread_of(row.fields.get(name))}


def _find_named(header: Header, name: str, wanted: str | tuple[str, ...]) -> tuple[str, ...]:
    """The columns that `task.columns` names. A file may lack the one for ids."""
    columns = {column: header.find(column) for column in ([wanted] if isinstance(wanted, str) else wanted)}
    lost = [column for column, found in columns.items() if found is None]
    if lost and name != "id":
        raise DatasetError(
            f"{header.place}: task.columns takes {name} from {lost[0]!r}, but the columns are"
            f" {', '.join(header.names) or '(none)'}.{suggest(lost[0], header.names) or f' {header.doubt}'}".rstrip()
        )
    return tuple(found for found in columns.values() if found is not None)


def _is_lost(header: Header, wanted: str | tuple[str, ...]) -> bool:
    return any(header.find(column) is None for column in ([wanted] if isinstance(wanted, str) else wanted))


def _find_conversation(rows: Sequence[RawRow], header: Header, columns: Columns) -> str | None:
    """The column with turns, unless the settings name the question's column."""
    if "messages" in columns:
        return _find_named(header, "messages", columns["messages"])[0]
    if "question" in columns and not _is_lost(header, columns["question"]):
        return None
    found = {column: name for name in CONVERSATIONS if (column := header.find(name, filled=True)) is not None}
    turns = next((column for column in found if is_conversation(_first_value(rows, column))), None)
    if turns is None and not any(header.find(name) for name in ("question", *ALIASES["question"])):
        return next((column for column, name in found.items() if name in CONVERSATIONS[:2]), None)
    return turns


def _first_value(rows: Sequence[RawRow], column: str) -> Any:
    return next((value for row in rows if not is_empty(value := row.fields.get(column))), None)


def _list_in_turns(rows: Sequence[RawRow], conversation: str | None) -> tuple[str, ...]:
    """Fields that the turns contain: the question, and the answer unless they end with the user's turn."""
    if conversation is None:
        return ()
    turns = parse_nested(_first_value(rows, conversation))
    ends_with_user = isinstance(turns, list | tuple) and turns and is_turn(turns[-1]) and role_of(turns[-1]) == "user"
    return ("question",) if ends_with_user else ("question", "answer")


def _find_own(header: Header, name: str, names: Sequence[str], taken: Collection[str]) -> str | None:
    """The first column that has one of the task's own names for the field, unless another one may be the right answer."""
    column = header.find_first(names)
    gold = header.find_all(name for name in GOLD if name in names or name in MARKED_RIGHT)
    if column in gold:
        header.refuse_several(name, [other for other in gold if other == column or other not in taken])
    return column


def _find_alias(header: Header, name: str, taken: Collection[str]) -> tuple[str, ...]:
    """The only unused column that has one of the usual names for the field."""
    fitting = [column for column in header.find_all(ALIASES.get(name, ())) if column not in taken]
    beside = {other for column in fitting for other in _list_beside(header, column)}
    fitting = [column for column in fitting if column not in beside]
    header.refuse_several(name, fitting)
    return tuple(fitting[:1])


def _list_beside(header: Header, column: str) -> list[str]:
    """Columns that belong to this one: those appended to it, and Alpaca's `text`."""
    is_alpaca = _key(column) == _ALPACA[0] and all(map(header.find, _ALPACA))
    return header.find_all([*JOINED.get(_key(column), ()), *(["text"] if is_alpaca else [])])


def _join_behind(header: Header, found: Mapping[str, tuple[str, ...]], columns: Columns) -> dict[str, tuple[str, ...]]:
    """The question and the columns appended to it. A list in `task.columns` says itself what is joined."""
    question = found.get("question", ())
    if len(question) != 1 or not isinstance(columns.get("question", ""), str):
        return {}
    taken = {column for names in found.values() for column in names}
    behind = header.find_all(JOINED.get(_key(question[0]), ()))
    return {"question": (*question, *(column for column in behind if column not in taken))}


def _find_chat_columns(
    header: Header, found: Mapping[str, tuple[str, ...]], conversation: str | None, columns: Columns
) -> dict[str, tuple[str, ...]]:
    is_chat = conversation is not None or found.get("question", ())[:1] in (("instruction",), ("prompt",))
    names: Fields = {
        "id": ("id",),
        "system": (*SYSTEM, "system") if is_chat else SYSTEM,
        "history": ("history",) if is_chat else (),
    }
    columns_by_name = {name: header.find_first(alike) for name, alike in names.items() if name not in columns}
    return {name: (column,) for name, column in columns_by_name.items() if column is not None and name not in found}


def _name_form(found: Mapping[str, tuple[str, ...]], conversation: str | None) -> str:
    if conversation:
        return f"turns in the column {conversation!r}"
    question = found.get("question", ())
    if len(question) > 1:
        return f"columns; the question is {' and '.join(question)}, joined by a blank line"
    return "columns"


_BETWEEN = re.compile(rf"[\s_{INVISIBLE}-]+")


def _key(name: str) -> str:
    return to_nfc(_BETWEEN.sub("", name).casefold())
