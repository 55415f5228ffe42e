"""How long rows are for the student, against the limits that settings and model set."""

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

from pada_agent.core.errors import DatasetError
from pada_agent.core.jobs import LoraSpec
from pada_agent.core.ports import TokenCounter
from pada_agent.core.records import Example, Record
from pada_agent.evaluation.rows.findings import Finding, agree, count, list_some, stop, warn
from pada_agent.evaluation.rows.reading import ReadFile

MAX_COUNTED = 1000
"""Rows of a file that are counted; of the others those that may be too long, by their bytes."""

ROOM = 1.1
"""Tokens for an answer, per token of a long right one, where the task's own limit would cut it."""

DENSER = 1.5
"""How many times more tokens for its bytes a row may have than any row that was counted."""


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
    """Tokens that are learned: the right answer and the end of turn."""
    option: int = 0
    """Tokens of the longest option; 0 where the student writes the answer."""

    @property
    def total(self) -> int:
        return self.prompt + self.answer

    @property
    def writes(self) -> bool:
        """The student writes the answer, in place of choosing it."""
        return not self.option

    @property
    def written(self) -> int:
        """Tokens that it writes, without the end of turn: an answer that ends where generation has to is whole."""
        return self.answer - 1


class FileLengths(NamedTuple):
    rows: list[RowLength]
    problems: list[Finding]
    """Rows that cannot be learned from."""


def measure_rows(file: ReadFile, tokens: TokenCounter, *, limit: int) -> FileLengths:
    """Lengths of the file's rows; of a large file a sample, and all that may be longer than `limit`.

    Raises:
        TrainingError: the student's chat template cannot render them.
    """
    count_text = cache(tokens.count_text)  # a closed set of labels is the same in every row
    places = list(zip(file.examples, file.wheres, strict=True))
    step = max(1.0, len(places) / MAX_COUNTED)
    sampled = [int(i * step) for i in range(min(len(places), MAX_COUNTED))]
    found = _measure([places[i] for i in sampled], tokens, count_text)
    if step > 1 and found.rows:
        sizes = {where: _n_bytes(example) for example, where in places}
        most = max(row.total / max(1, sizes[row.where]) for row in found.rows) * DENSER
        known = set(sampled)
        rest = [place for i, place in enumerate(places) if i not in known and sizes[place[1]] * most > limit]
        more = _measure(rest, tokens, count_text)
        found = FileLengths(found.rows + more.rows, found.problems + more.problems)
    return found


def _measure(
    places: Sequence[tuple[Example, str]], tokens: TokenCounter, count_text: Callable[[str], int]
) -> FileLengths:
    found = FileLengths([], [])
    for example, where in places:
        try:
            counted = tokens.count(example)
        except DatasetError as exc:
            found.problems.append(stop(f"{where}: {exc}"))
            continue
        option = max(map(count_text, example.options), default=0)
        found.rows.append(RowLength(where, counted.prompt, counted.answer, option))
    return found


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
    hopeless = [row for row in rows if row.answer >= lora.max_length]
    long = [row for row in rows if row.total > lora.max_length and row.answer < lora.max_length]
    beyond = [row for row in rows if min(row.total, lora.max_length) > context_tokens]
    found = []
    if hopeless:
        longest = max(row.answer for row in hopeless)
        found.append(
            stop(
                f"{count(len(hopeless), 'training row')}: the answer alone has as many tokens as lora.max_length allows for a"
                f" whole row ({lora.max_length}): {_name(hopeless)}. Raise it above {longest}, or drop"
                f" {agree(len(hopeless), 'the row', 'the rows')}"
            )
        )
    if long:
        found.append(_tell_long(long, lora))
    if beyond:
        found.append(
            stop(
                f"{count(len(beyond), 'training row')} {agree(len(beyond), 'has', 'have')} more tokens than the student was"
                f" made for ({context_tokens}): {_name(beyond)}. Drop {agree(len(beyond), 'it', 'them')}, or set"
                f" lora.max_length to {context_tokens} and lora.on_too_long to truncate"
            )
        )
    return found


def _tell_long(long: Sequence[RowLength], lora: LoraSpec) -> Finding:
    n, longest = len(long), max(row.total for row in long)
    if lora.on_too_long == "truncate":
        return warn(
            f"{count(n, 'training row')} will be cut at the beginning to lora.max_length ({lora.max_length}): {_name(long)}"
        )
    return stop(
        f"{count(n, 'training row')} {agree(n, 'has', 'have')} more tokens than lora.max_length ({lora.max_length}):"
        f" {_name(long)}. Raise it to {longest}, drop {agree(n, 'the row', 'the rows')}, or set lora.on_too_long to truncate"
    )


def check_context(rows: Sequence[RowLength], *, new_tokens: int, context_tokens: int) -> list[Finding]:
    """Rows that the student cannot answer within its context."""
    needed = {row.where: row.prompt + (new_tokens if row.writes else row.option) for row in rows}
    long = [row for row in rows if needed[row.where] > context_tokens]
    if not long:
        return []
    longest = max(needed[row.where] for row in long)
    room = f" and the {new_tokens} it may write (student.max_new_tokens)" if long[0].writes else " and an option"
    return [
        stop(
            f"{count(len(long), 'row')} {agree(len(long), 'does', 'do')} not fit the student's context of {context_tokens}"
            f" tokens: prompt{room} are up to {longest}: {_name(long)}. Drop {agree(len(long), 'it', 'them')}, or choose a"
            " student with a longer context"
        )
    ]


def check_answer_room(rows: Sequence[RowLength], new_tokens: int, *, is_set: bool) -> list[Finding]:
    """Rows whose right answer the student has no room to write. `is_set`: settings say how much it has."""
    writing = [row for row in rows if row.writes]
    cut = [row for row in writing if row.written > new_tokens]
    if not cut:
        return []
    longest = max(row.written for row in cut)
    way_out = f"Set student.max_new_tokens to {fit_new_tokens(longest, new_tokens)}"
    text = (
        f"{len(cut)} of {count(len(writing), 'right answer')} {agree(len(cut), 'has', 'have')} more tokens than the student may"
        f" write ({new_tokens}), the longest {longest}, and will be wrong however good it is: {_name(cut)}."
        f" {way_out}{', or to null: then it fits the answers' if is_set else ''}"
    )
    return [stop(text, "settings") if len(cut) == len(writing) else warn(text)]


def long_written(rows: Sequence[RowLength]) -> int:
    """Tokens that 99 of 100 right answers that the student writes have at most; of fewer, all."""
    ordered = sorted(row.written for row in rows if row.writes)
    return ordered[math.ceil(0.99 * len(ordered)) - 1] if ordered else 0


def fit_new_tokens(longest: int, default: int) -> int:
    """Tokens that leave room for right answers of `longest` tokens, with some to spare; `default` where that is enough."""
    return default if longest <= default else math.ceil((ROOM * longest + 8) / 8) * 8


def _n_bytes(example: Example) -> int:
    texts = [example.conversation, example.answer, *example.options]
    return sum(len(text.encode(errors="replace")) for text in texts)


def _name(rows: Sequence[RowLength]) -> str:
    return list_some([row.where for row in sorted(rows, key=lambda row: -row.total)])
