"""Reads all files of a run in the same way: rows become examples, with a report of how they were understood."""

import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, NamedTuple

from pada_agent.core.errors import DatasetError, RowError
from pada_agent.core.raw_rows import RawRow, Settled
from pada_agent.core.records import Example, Record
from pada_agent.core.returned import check_returned
from pada_agent.evaluation.rows.cells import cell_text, is_empty, parse_nested, write_whole_numbers_as_such
from pada_agent.evaluation.rows.conversation import ConversationProblem, is_learned, role_of
from pada_agent.evaluation.rows.doubts import list_doubts
from pada_agent.evaluation.rows.forms import list_unused
from pada_agent.evaluation.task import Task
from pada_agent.evaluation.tasks.gold_option import READINGS
from pada_agent.evaluation.tasks.row_reader import RowReader

_ANSWER = re.compile(r" \(answer \d+ of \d+\)$")


class Understood(Record):
    """How a file was read, for a person to check."""

    location: str
    n_rows: int
    form: str
    """What the rows look like, in words."""
    columns: dict[str, tuple[str, ...]]
    """Our field name mapped to the columns it was read from. Turns are listed under `messages`."""
    unused: tuple[str, ...] = ()
    """Columns that hold something but were not read. Empty if the task does not say what it reads."""
    gold: str = ""
    """How the rows name the right answer, if there is more than one way."""
    notes: tuple[str, ...] = ()
    """What a person should look at, one line each."""


class ReadFile(NamedTuple):
    """A file's examples, each with the place of its row, and how the file was read."""

    examples: list[Example]
    wheres: list[str]
    """File and line of each example."""
    understood: Understood
    expanded: bool = False
    """Whether a row may have become several examples. Repeated greetings are then no mistake, but repeated conversations are."""
    problems: tuple[DatasetError, ...] = ()
    """Why rows cannot be read, in order. `examples` has none of them."""


def read_files(task: Task, files: Sequence[Sequence[RawRow]], *, all_turns: Sequence[bool] = ()) -> list[ReadFile]:
    """Read the files of a run. Each file has its own form, which its slices share; how labels and numbers are read is the
    same for all.

    Ids are unique within a file: if a row repeats the id of another, a number is appended to it.

    Args:
        all_turns: for each file, whether every answer of a conversation becomes a row of its own.

    Raises:
        DatasetError: see `Task.settle`. Rows that cannot be read are listed in `ReadFile.problems` instead.
    """
    tidy = write_whole_numbers_as_such(files, task.list_forms(files))
    settled = task.settle(tidy)
    expanding = [*all_turns, *[False] * len(files)]
    return [
        _read_file(task, rows, form, expand=expand)
        for rows, form, expand in zip(tidy, settled, expanding[: len(files)], strict=True)
    ]


def _read_file(task: Task, rows: Sequence[RawRow], settled: Settled, *, expand: bool) -> ReadFile:
    known = [row.model_copy(update={"settled": settled}) for row in rows]
    expand = expand and settled.conversation is not None
    read = [turn for row in known for turn in _expand_turns(row)] if expand else known
    kept: list[tuple[Example, str]] = []
    problems: list[DatasetError] = []
    for row in read:
        try:
            kept.append((_read_row(task, row), row.where))
        except DatasetError as exc:
            problems.append(_place(exc, row.where))
    examples = tell_apart([example for example, _ in kept])
    understood = _describe(task, rows, settled, examples)
    return ReadFile(examples, [where for _, where in kept], understood, expand, tuple(problems))


def _place(exc: DatasetError, where: str) -> RowError:
    """The fault as a fault of this row. Third-party tasks may word it in any way."""
    return exc if isinstance(exc, RowError) else RowError(where, str(exc).removeprefix(f"{where}: "))


def _read_row(task: Task, row: RawRow) -> Example:
    """Read a row and add earlier turns, also for third-party tasks that read the fields themselves."""
    example = check_returned(task.read(row), Example, by=f"{type(task).__name__}.read")
    return example if example.history or example.system else RowReader(row, task.config.columns).with_turns(example)


def tell_apart(examples: Sequence[Example], *, taken: AbstractSet[str] = frozenset()) -> list[Example]:
    """The examples, with a number appended to ids that repeat or are in `taken`."""
    seen: dict[str, int] = dict.fromkeys(taken, 1)
    taken = {*taken, *(example.id for example in examples)}
    unique = []
    for example in examples:
        n = seen.get(example.id, 0) + 1
        new = example.id if n == 1 else f"{example.id}#{n}"
        while n > 1 and new in taken:
            n += 1
            new = f"{example.id}#{n}"
        seen[example.id] = n
        taken.add(new)
        unique.append(example if new == example.id else example.model_copy(update={"id": new}))
    return unique


def _expand_turns(row: RawRow) -> list[RawRow]:
    """One row for each answer of the assistant. A single row if the turns do not hold the answers."""
    settled = row.settled or Settled()
    column = settled.conversation or ""
    turns = parse_nested(row.fields.get(column))
    if "answer" in settled.columns or not isinstance(turns, list | tuple):
        return [row]
    answers = [n for n, turn in enumerate(turns, start=1) if isinstance(turn, dict) and role_of(turn) == "assistant"]
    if len(answers) < 2:
        return [row]
    ends = [n for n in answers if _is_learned(turns[n - 1])] or answers[-1:]
    id_column = next(iter(settled.columns.get("id", ())), None)
    name = None if id_column is None or is_empty(row.fields.get(id_column)) else cell_text(row.fields[id_column])
    return [
        row.model_copy(
            update={
                "where": f"{row.where} (answer {k} of {len(ends)})",
                "fields": {
                    **row.fields,
                    column: turns[:end],
                    **({id_column: f"{name}/{k}"} if id_column and name else {}),
                },
            }
        )
        for k, end in enumerate(ends, start=1)
    ]


def name_row(where: str) -> str:
    """The place of the row that an example at this place was made of."""
    return _ANSWER.sub("", where)


def _is_learned(turn: Mapping[str, Any]) -> bool:
    try:
        return is_learned(turn)
    except ConversationProblem:
        return True  # reported where the row is read


def _describe(task: Task, rows: Sequence[RawRow], settled: Settled, examples: Sequence[Example]) -> Understood:
    columns = dict(settled.columns)
    if settled.conversation:
        columns["messages"] = (settled.conversation,)
    return Understood(
        location=rows[0].where.rpartition(":")[0] if rows else "",
        n_rows=len(examples),
        form=settled.form,
        columns=columns,
        unused=list_unused(rows, settled) if task.fields else (),
        gold=_describe_gold(settled),
        notes=tuple(list_doubts(task, examples)),
    )


def _describe_gold(settled: Settled) -> str:
    if settled.gold_is:
        return f"the right option is given as {READINGS[settled.gold_is]}"
    return "numbers have a decimal comma" if settled.decimal_mark == "," else ""
