"""How long the rows of a run are for the student, against the limits of settings and model, before anything is computed."""

from collections.abc import Mapping
from typing import NamedTuple

from pada_agent.core.config import RunConfig
from pada_agent.core.errors import TrainingError
from pada_agent.core.ports import TokenCounter
from pada_agent.core.records import Record
from pada_agent.evaluation.rows.findings import Finding, stop
from pada_agent.evaluation.rows.lengths import (
    FileLengths,
    RowLength,
    Spread,
    check_answer_room,
    check_context,
    check_training_lengths,
    fit_new_tokens,
    long_written,
    measure_rows,
    spread,
)
from pada_agent.evaluation.rows.reading import ReadFile
from pada_agent.evaluation.task import Task
from pada_agent.graph.data_files import FileName


class LengthsOfFile(Record):
    """Lengths of a file's rows, in tokens."""

    prompt: Spread
    answer: Spread
    """Of the right answers, with the end of turn."""


class RunLengths(NamedTuple):
    """Lengths of a run's rows, what is wrong with them, and how much the student may write."""

    files: dict[FileName, LengthsOfFile]
    findings: list[Finding]
    new_tokens: int
    context_tokens: int | None = None
    """Longest sequence the student was made for; None where that was not found out."""


def measure_lengths(
    settings: RunConfig, files: Mapping[FileName, ReadFile], task: Task, tokens: TokenCounter | None
) -> RunLengths:
    """All rows of small files, samples of large ones. A student whose tokenizer cannot be used is a finding."""
    known = settings.student.max_new_tokens or task.max_new_tokens
    if tokens is None or not any(file.examples for file in files.values()):
        return RunLengths({}, [], known)
    try:
        context = tokens.context_tokens
        measured = {name: measure_rows(file, tokens, limit=_limit(settings, context)) for name, file in files.items()}
    except TrainingError as exc:
        return RunLengths({}, [stop(str(exc), "settings")], known)
    new_tokens = choose_new_tokens(settings, task, [row for found in measured.values() for row in found.rows])
    findings = [
        *(problem for found in measured.values() for problem in found.problems),
        *_check_lengths(settings, measured, new_tokens, context),
    ]
    return RunLengths(_describe(measured), findings, new_tokens, context)


def choose_new_tokens(settings: RunConfig, task: Task, rows: list[RowLength]) -> int:
    """Tokens that the student may write: what settings say, or the task's limit, or more where right answers need it."""
    return settings.student.max_new_tokens or fit_new_tokens(long_written(rows), task.max_new_tokens)


def _limit(settings: RunConfig, context: int) -> int:
    return min(settings.lora.max_length, context)


def _check_lengths(
    settings: RunConfig, measured: Mapping[FileName, FileLengths], new_tokens: int, context: int
) -> list[Finding]:
    findings = []
    if train := measured.get("train"):
        findings += check_training_lengths(train.rows, settings.lora, context_tokens=context)
    held_out = [row for name in ("validation", "test") if name in measured for row in measured[name].rows]
    findings += check_context(held_out, new_tokens=new_tokens, context_tokens=context)
    return findings + check_answer_room(held_out, new_tokens, is_set=settings.student.max_new_tokens is not None)


def _describe(measured: Mapping[FileName, FileLengths]) -> dict[FileName, LengthsOfFile]:
    found: dict[FileName, LengthsOfFile] = {}
    for name, lengths in measured.items():
        prompt = spread([(row.prompt, row.where) for row in lengths.rows])
        answer = spread([(row.answer, row.where) for row in lengths.rows])
        if prompt and answer:
            found[name] = LengthsOfFile(prompt=prompt, answer=answer)
    return found
