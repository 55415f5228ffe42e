"""Compares the length of rows, in tokens, with what the student can read and write, before anything is computed."""

from collections.abc import Collection, Mapping, Sequence
from math import ceil
from typing import NamedTuple

from pada_agent.core.config import RunConfig
from pada_agent.core.errors import ConfigError, DatasetError, RowError
from pada_agent.core.jobs import LoraSpec
from pada_agent.core.ports import TokenCounter
from pada_agent.core.records import Example, RowTokens
from pada_agent.core.wording import list_some
from pada_agent.evaluation.rows.findings import Finding, stop, warn
from pada_agent.evaluation.rows.reading import ReadFile
from pada_agent.evaluation.rows.row_errors import tell_alike

MARGIN = 1.25
"""Factor on the length of the longest right answer, because the student may need more words to say the same."""
STEP = 16
"""Fitted limits are multiples of this, so that one more row rarely changes them."""


class Spread(NamedTuple):
    """Median and maximum length of a file's rows, in tokens."""

    median: int
    longest: int


class FileLengths(NamedTuple):
    """Lengths of a file's rows."""

    prompt: Spread
    answer: Spread
    """What is learned: the right answer and the end of turn. For rows that are only asked, the longest option."""


class Lengths(NamedTuple):
    """The result of measuring all rows."""

    max_new_tokens: int
    """Maximum number of tokens that the student may write: the setting, or a limit that cuts no right answer."""
    findings: list[Finding]
    files: dict[str, FileLengths] = {}  # noqa: RUF012  (never changed)
    """By file name. Only files with rows."""


class _Row(NamedTuple):
    where: str
    example: Example
    tokens: RowTokens


def check_lengths(
    files: Mapping[str, ReadFile],
    *,
    tokens: TokenCounter,
    config: RunConfig,
    task_limit: int,
    learned: Collection[str],
    asked: Collection[str],
) -> Lengths:
    """Measure every row.

    Args:
        task_limit: minimum for `max_new_tokens` that the task asks for.
        learned: names of the files whose rows are trained on.
        asked: names of the files whose rows the student answers.

    Raises:
        ConfigError: the student's chat template cannot render rows like these.
    """
    findings = [*map(warn, tokens.warnings)]
    rows = {name: _measure(file, tokens, findings, learn=name in learned) for name, file in files.items()}
    context = tokens.context_tokens
    written = [row for part in rows.values() for row in part if not row.example.options]
    labels = [tokens.count_text(label) + 1 for label in config.task.labels] if written else []
    wanted = config.student.max_new_tokens
    limit = wanted or fit_limit([row.tokens for row in written], labels, task_limit=task_limit, context=context)
    for name, part in rows.items():
        if name in learned:
            findings += _tell_too_long(part, config.lora, context)
        if name in asked:
            findings += _tell_no_room(_measure_asked(part, tokens) if name in learned else part, limit, context)
        findings += _tell_cut(part, limit, can_be_raised=wanted is not None)
    return Lengths(limit, findings, {name: _describe(part) for name, part in rows.items() if part})


def explain_unlearnable(example: Example, *, tokens: TokenCounter | None, lora: LoraSpec) -> str | None:
    """Why the student cannot be trained on the row. None if it can, or if rows cannot be measured."""
    if tokens is None:
        return None
    try:
        count = tokens.count(example)
    except (DatasetError, ConfigError) as exc:
        return str(exc)
    if not is_too_long(count, lora, tokens.context_tokens):
        return None
    return (
        f"too long for the student: {count.total} tokens, {count.answer} of them the answer, and"
        f" {min(lora.max_length, tokens.context_tokens)} are the limit. Write it shorter"
    )


def is_too_long(count: RowTokens, lora: LoraSpec, context: int) -> bool:
    """Whether training would refuse the row. Only the prompt may be cut, so the answer has to fit."""
    limit = min(lora.max_length, context)
    return count.answer >= limit or (lora.on_too_long == "error" and count.total > limit)


def fit_limit(rows: Sequence[RowTokens], labels: Sequence[int], *, task_limit: int, context: int) -> int:
    """The task's own limit, raised to what the longest right answer needs as far as every row has room for it."""
    longest = max([*labels, *(row.answer for row in rows)], default=0)
    if longest <= task_limit:
        return task_limit
    room = context - max((row.prompt for row in rows), default=0)
    return max(task_limit, min(ceil(longest * MARGIN / STEP) * STEP, room))


def _describe(rows: Sequence[_Row]) -> FileLengths:
    return FileLengths(
        prompt=_spread([row.tokens.prompt for row in rows]),
        answer=_spread([row.tokens.answer for row in rows]),
    )


def _spread(lengths: Sequence[int]) -> Spread:
    ordered = sorted(lengths)
    return Spread(median=ordered[len(ordered) // 2], longest=ordered[-1])


def _measure(file: ReadFile, tokens: TokenCounter, findings: list[Finding], *, learn: bool) -> list[_Row]:
    rows: list[_Row] = []
    problems: list[RowError] = []
    for example, where in zip(file.examples, file.wheres, strict=True):
        try:
            rows.append(_Row(where, example, tokens.count(example) if learn else tokens.count_asked(example)))
        except DatasetError as exc:
            problems.append(RowError(where, str(exc)))
    findings += map(stop, tell_alike(problems))
    return rows


def _measure_asked(rows: Sequence[_Row], tokens: TokenCounter) -> list[_Row]:
    """Rows that are both trained on and answered: an option may be longer than the answer that is learned."""
    return [row._replace(tokens=tokens.count_asked(row.example)) if row.example.options else row for row in rows]


def _tell_too_long(rows: Sequence[_Row], lora: LoraSpec, context: int) -> list[Finding]:
    long = [row for row in rows if is_too_long(row.tokens, lora, context)]
    if not long:
        return []
    most, answers = max(row.tokens.total for row in long), max(row.tokens.answer for row in long)
    limit = min(lora.max_length, context)
    text = f"{_name(long)}: too long to be trained on, with up to {most} tokens ({answers} in an answer), and {limit} is the limit"
    ways = ["drop the rows"]
    if lora.max_length < context and most <= context:
        ways.insert(0, f"set lora.max_length to {most} or more")
    if lora.on_too_long == "error" and answers < limit:
        ways.append("set lora.on_too_long to truncate, which cuts prompts at their beginning, never answers")
    source = "lora.max_length" if lora.max_length <= context else "the student's context"
    return [stop(f"{text} ({source}). {_join_ways(ways)}.")]


def _tell_no_room(rows: Sequence[_Row], limit: int, context: int) -> list[Finding]:
    def count(row: _Row) -> int:
        return row.tokens.prompt + (row.tokens.answer if row.example.options else limit)

    long = [row for row in rows if count(row) > context]
    if not long:
        return []
    most = max(map(count, long))
    chosen = all(row.example.options for row in long)
    what = "with the longest option" if chosen else f"with {limit} for the answer (student.max_new_tokens)"
    prompt = max(row.tokens.prompt for row in long)
    ways = ["shorten the rows, or drop them"]
    if not chosen and prompt < context:
        ways.append(f"set student.max_new_tokens to {context - prompt} or less")
    text = f"{_name(long)}: up to {most} tokens {what}, and the student's context is {context}. {_join_ways(ways)}."
    return [stop(text)]


def _tell_cut(rows: Sequence[_Row], limit: int, *, can_be_raised: bool) -> list[Finding]:
    cut = [row for row in rows if not row.example.options and row.tokens.answer > limit]
    if not cut:
        return []
    most = max(row.tokens.answer for row in cut)
    way = f": set it to null, or to {most} or more" if can_be_raised else ": no more fit into its context"
    return [
        warn(
            f"{_name(cut)}: the right answer has up to {most} tokens, and the student may write {limit}"
            f" (student.max_new_tokens){way}"
        )
    ]


def _join_ways(ways: Sequence[str]) -> str:
    return ", or ".join([ways[0][0].upper() + ways[0][1:], *ways[1:]])


def _name(rows: Sequence[_Row]) -> str:
    return list_some([row.where for row in rows])
