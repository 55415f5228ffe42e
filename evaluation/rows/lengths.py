"""How long rows are for the student, against the limits that settings and model set."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from pada_agent.core.errors import DatasetError
from pada_agent.core.jobs import LoraSpec
from pada_agent.core.ports import TokenCounter
from pada_agent.core.records import Example, Record, RowTokens
from pada_agent.evaluation.rows.findings import Finding, count, list_some, stop, warn
from pada_agent.evaluation.rows.reading import ReadFile

MAX_COUNTED = 2000
"""Rows of a file that are counted in any case; of the others those whose bytes are more than a limit has tokens."""

ROOM = 1.25
"""Tokens for an answer, per token of the longest right one, where the task's own limit would cut it."""


class Spread(Record):
    """A length over the rows of a file, in tokens."""

    median: int
    p95: int
    """19 of 20 rows have at most so many."""
    longest: int
    longest_at: str
    """File and line."""


class RowLength(NamedTuple):
    where: str
    prompt: int
    answer: int
    """Tokens of the right answer and the end of turn; of rows with options, of the longest one."""
    writes: bool
    """The student writes the answer, in place of choosing it."""

    @property
    def total(self) -> int:
        return self.prompt + self.answer


class FileLengths(NamedTuple):
    rows: list[RowLength]
    problems: list[Finding]
    """Rows that cannot be learned from."""


def measure_rows(file: ReadFile, tokens: TokenCounter, *, limit: int) -> FileLengths:
    """Lengths of the file's rows; of a large file a sample, and all that may be longer than `limit`.

    Raises:
        TrainingError: the student's chat template cannot render them.
    """
    rows, problems = [], []
    for example, where in _choose(file, tokens, limit):
        try:
            found = tokens.count(example)
        except DatasetError as exc:
            problems.append(stop(f"{where}: {exc}"))
            continue
        answer = _longest_option(example, tokens) if example.options else found.answer
        rows.append(RowLength(where, found.prompt, answer, writes=not example.options))
    return FileLengths(rows, problems)


def spread(values: Sequence[tuple[int, str]]) -> Spread | None:
    """Of lengths with their places; None without any."""
    if not values:
        return None
    ordered = sorted(values)
    longest, where = ordered[-1]
    return Spread(
        median=ordered[len(ordered) // 2][0],
        p95=ordered[math.ceil(0.95 * len(ordered)) - 1][0],
        longest=longest,
        longest_at=where,
    )


def check_training_lengths(rows: Sequence[RowLength], lora: LoraSpec, *, context_tokens: int) -> list[Finding]:
    """Rows that fine-tuning would refuse, or cut."""
    found = []
    if hopeless := [row for row in rows if row.answer >= lora.max_length]:
        longest = max(row.answer for row in hopeless)
        found.append(
            stop(
                f"{count(len(hopeless), 'answer')} alone {_have(hopeless)} as many tokens as lora.max_length allows for a row"
                f" ({lora.max_length}): {_name(hopeless)}. Raise it above {longest}, or drop the rows"
            )
        )
    long = [row for row in rows if row.total > lora.max_length and row.answer < lora.max_length]
    if long and lora.on_too_long == "error":
        longest = max(row.total for row in long)
        found.append(
            stop(
                f"{count(len(long), 'training row')} {_have(long)} more tokens than lora.max_length"
                f" ({lora.max_length}): {_name(long)}. Raise it to {longest}, drop the rows, or set lora.on_too_long to truncate"
            )
        )
    elif long:
        found.append(
            warn(f"{count(len(long), 'training row')} will be cut at the beginning to lora.max_length ({lora.max_length}): {_name(long)}")
        )
    beyond = [row for row in rows if min(row.total, lora.max_length) > context_tokens]
    if beyond:
        found.append(
            stop(
                f"{count(len(beyond), 'training row')} {_have(beyond)} more tokens than the student was made for"
                f" ({context_tokens}): {_name(beyond)}. Drop them, or set lora.max_length to {context_tokens} and"
                " lora.on_too_long to truncate"
            )
        )
    return found


def check_context(rows: Sequence[RowLength], *, new_tokens: int, context_tokens: int) -> list[Finding]:
    """Rows that the student cannot answer within its context."""
    needed = {row.where: row.prompt + (new_tokens if row.writes else row.answer) for row in rows}
    long = [row for row in rows if needed[row.where] > context_tokens]
    if not long:
        return []
    shortest = min(needed[row.where] for row in long)
    room = f" and {new_tokens} new ones (student.max_new_tokens)" if long[0].writes else " and an option"
    return [
        stop(
            f"{count(len(long), 'row')} with {shortest} tokens or more, prompt{room}, {_do(long)} not fit the student's"
            f" context of {context_tokens}: {_name(long)}. Drop the rows, or choose a student with a longer context"
        )
    ]


def check_answer_room(rows: Sequence[RowLength], new_tokens: int) -> list[Finding]:
    """Rows whose right answer the student has no room to write."""
    writing = [row for row in rows if row.writes]
    cut = [row for row in writing if _written(row) > new_tokens]
    if not cut:
        return []
    longest = max(map(_written, cut))
    text = (
        f"{len(cut)} of {count(len(writing), 'right answer')} {_have(cut)} more tokens than student.max_new_tokens"
        f" ({new_tokens}), the longest {longest}, and will be wrong however good the student is: {_name(cut)}."
        f" Raise it to {fit_new_tokens(longest, new_tokens)}, or leave it out"
    )
    return [stop(text, "settings") if len(cut) == len(writing) else warn(text)]


def longest_written(rows: Sequence[RowLength]) -> int:
    """Tokens of the longest right answer that the student writes."""
    return max((_written(row) for row in rows if row.writes), default=0)


def fit_new_tokens(longest: int, default: int) -> int:
    """Tokens that leave room for right answers of `longest` tokens; `default` where that is enough."""
    return default if longest <= default else math.ceil((ROOM * longest + 8) / 8) * 8


def _choose(file: ReadFile, tokens: TokenCounter, limit: int) -> list[tuple[Example, str]]:
    places = list(zip(file.examples, file.wheres, strict=True))
    if len(places) <= MAX_COUNTED:
        return places
    # A token is at least a byte of the text; what the template adds is at most the whole of some row.
    frame = _count_first(places, tokens).total
    step = len(places) / MAX_COUNTED
    sampled = {int(i * step) for i in range(MAX_COUNTED)}
    return [place for n, place in enumerate(places) if n in sampled or _n_bytes(place[0]) + frame > limit]


def _count_first(places: Sequence[tuple[Example, str]], tokens: TokenCounter) -> RowTokens:
    for example, _ in places:
        try:
            return tokens.count(example)
        except DatasetError:
            continue
    return RowTokens(prompt=0, answer=0)


def _n_bytes(example: Example) -> int:
    texts = [example.conversation, example.answer, *example.options]
    return sum(len(text.encode(errors="replace")) for text in texts)


def _longest_option(example: Example, tokens: TokenCounter) -> int:
    return max(tokens.count_text(option) for option in example.options) + 1


def _written(row: RowLength) -> int:
    """Without the end of turn: an answer that ends where generation has to is whole."""
    return row.answer - 1


def _name(rows: Sequence[RowLength]) -> str:
    return list_some([row.where for row in sorted(rows, key=lambda row: -row.total)])


def _have(rows: Sequence[RowLength]) -> str:
    return "has" if len(rows) == 1 else "have"


def _do(rows: Sequence[RowLength]) -> str:
    return "does" if len(rows) == 1 else "do"
