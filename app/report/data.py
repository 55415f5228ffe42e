"""Turns a run's files into what its report shows. Pure functions; the page is drawn from `ReportData` alone."""

from collections.abc import Mapping, Sequence
from typing import Literal

from pada_agent.agents.guards.guard import name_rejected
from pada_agent.agents.quality_control.acceptance import explain_acceptance
from pada_agent.app.report.reading import RunFiles
from pada_agent.app.run_folder.layout import Manifest
from pada_agent.core.groupings import Sensitivity
from pada_agent.core.records import (
    BatchReport,
    ErrorAnalysis,
    ErrorPattern,
    Example,
    Rating,
    Record,
    Rejection,
    ScoredRow,
    Strategy,
    Usage,
)
from pada_agent.graph.models import choose_best
from pada_agent.graph.summary import (
    Comparison,
    IterationPatterns,
    ModelResult,
    PatternStrategy,
    RunSummary,
    find_main,
    is_flattered,
)

MAX_ROWS = 300
"""Maximum number of synthetic rows in the table, which keeps the page under a megabyte."""
MAX_CHARACTERS = 700
"""Maximum length of each text shown."""
N_EXAMPLES = 3
"""Number of failures, accepted rows and rejected rows shown with each pattern."""

TRAINING_ERRORS = "training errors"
ACCEPTED = "accepted"
LEFT_OUT = "left out"


class FailureExample(Record):
    """A validation row that the diagnosed model got wrong."""

    prompt: str
    expected: str
    answered: str
    cause: str | None
    """The analyst's explanation. None if the failure was not analyzed."""
    answered_after: str | None
    """Answer of the model trained in this iteration. None if there is none."""
    is_fixed: bool


class SyntheticRow(Record):
    """A row that the generator wrote, and what became of it."""

    id: str
    iteration: int
    status: str
    """`accepted`, the stage that rejected it, or `left out`: accepted by the judge, but repeated or dropped by a person."""
    source: str
    """Strategy name, or `training errors`."""
    strategy_id: str | None
    text: str
    reason: str
    scores: str = ""
    """The judge's scores, in words. Empty if it gave none."""


class PatternPage(Record):
    """A pattern, what was done about it, and the effect."""

    number: int
    """1-based over the whole run. A pattern that continues in a later iteration keeps its number."""
    iteration: int
    pattern: ErrorPattern
    strategy: Strategy | None
    after: str | None
    """Name of the model trained in this iteration. None if there is none."""
    n_errors: int
    n_fixed: int | None
    """Number of the pattern's errors that the model trained in this iteration answers correctly. None if unknown."""
    failures: tuple[FailureExample, ...]
    accepted: tuple[SyntheticRow, ...]
    rejected: tuple[SyntheticRow, ...]
    n_accepted: int
    n_rejected: int


class Segment(Record):
    """A share of one model's wrong answers."""

    number: int | None
    """Number of the pattern. None for errors outside all patterns."""
    name: str
    n: int
    """Number of wrong answers."""


class FailureStack(Record):
    """One model's wrong answers on the diagnosis part of validation, grouped by the patterns of one iteration."""

    iteration: int
    moment: Literal["before", "after"]
    """`before`: the model that the iteration diagnosed. `after`: the model that it trained."""
    model: str
    segments: tuple[Segment, ...]
    """In the order of the patterns, with all other errors last."""


class ReportData(Record):
    """Everything that the page shows."""

    summary: RunSummary
    is_finished: bool
    best: ModelResult
    main: Comparison | None
    """The comparison that the verdict is about: augmented against plain fine-tuning."""
    is_flattered: bool
    """Whether the rows of that comparison also chose its model from several iterations."""
    alarms: tuple[str, ...]
    warnings: tuple[str, ...]
    """Warnings that are not alarms."""
    stacks: tuple[FailureStack, ...]
    patterns: tuple[PatternPage, ...]
    """In the order in which they were found."""
    sensitivities: dict[str, Sensitivity]
    """By iteration. Only for iterations where this was computed."""
    rows: tuple[SyntheticRow, ...]
    n_rows: int
    """Total number of synthetic rows; `rows` has only those that are shown."""
    usage: Usage
    usage_by_agent: dict[str, Usage]
    unpriced: tuple[str, ...] = ()
    """Roles that were asked, may cost money and have no price."""
    elapsed_seconds: float | None
    whole_seconds: float | None
    settings: str
    manifest: Manifest | None
    missing: tuple[str, ...]


def describe_run(files: RunFiles) -> ReportData:
    """Everything that the page shows, with long lists cut."""
    summary, rows = files.summary, list_rows(files)
    numbers = number_patterns(summary.patterns)
    main = find_main(summary.comparisons, summary.models)
    return ReportData(
        summary=summary,
        is_finished=files.is_finished,
        best=summary.best,
        main=main,
        is_flattered=main is not None and is_flattered(main, summary.models),
        alarms=summary.alarms,
        warnings=summary.warnings,
        stacks=tuple(stack_failures(files, numbers)),
        patterns=tuple(describe_pattern(files, i, p, numbers, rows) for i in summary.patterns for p in i.patterns),
        sensitivities=files.sensitivities,
        rows=tuple(pick_evenly(rows, MAX_ROWS)),
        n_rows=len(rows),
        usage=sum((files.usage_by_agent or summary.usage).values(), Usage()),
        usage_by_agent=files.usage_by_agent,
        unpriced=files.unpriced,
        elapsed_seconds=files.elapsed_seconds,
        whole_seconds=files.whole_seconds,
        settings=files.settings,
        manifest=files.manifest,
        missing=files.missing,
    )


def number_patterns(found: Sequence[IterationPatterns]) -> dict[str, int]:
    """A number for each pattern id. A pattern that continues in a later iteration keeps its number."""
    numbers: dict[str, int] = {}
    for pair in (pair for iteration in found for pair in iteration.patterns):
        new = max(numbers.values(), default=0) + 1
        numbers[pair.pattern.id] = numbers.get(pair.pattern.continues or "", new)
    return numbers


def find_diagnosed(summary: RunSummary, iteration: int) -> ModelResult | None:
    """The model whose errors the iteration analyzed: the best one before it, chosen as in the loop."""
    earlier = [model for model in summary.models if model.iteration is not None and model.iteration < iteration]
    return choose_best(earlier) if earlier else None


def find_trained(summary: RunSummary, iteration: int) -> ModelResult | None:
    """The model that the iteration trained."""
    return next((model for model in summary.models if model.iteration == iteration), None)


def stack_failures(files: RunFiles, numbers: Mapping[str, int]) -> list[FailureStack]:
    """For each iteration, the wrong answers of the diagnosed model, then those of the model it trained."""
    stacks = []
    for found in files.summary.patterns:
        before = find_diagnosed(files.summary, found.iteration)
        after = find_trained(files.summary, found.iteration)
        if before and files.measured.get(before.name):
            stacks.append(_stack(files, found, before, numbers, moment="before"))
        if after and files.measured.get(after.name):
            stacks.append(_stack(files, found, after, numbers, moment="after"))
    return stacks


def describe_pattern(
    files: RunFiles,
    found: IterationPatterns,
    pair: PatternStrategy,
    numbers: Mapping[str, int],
    rows: Sequence[SyntheticRow],
) -> PatternPage:
    """One pattern with its errors before and after, and the rows written for it."""
    pattern, strategy = pair.pattern, pair.strategy
    before, after = find_diagnosed(files.summary, found.iteration), find_trained(files.summary, found.iteration)
    failed = _by_id(files, before)
    answered = _by_id(files, after)
    causes = {a.example_id: a for a in files.analyses.get(str(found.iteration), ())}
    written = [r for r in rows if strategy and (r.iteration, r.strategy_id) == (found.iteration, strategy.id)]
    accepted, rejected = [r for r in written if r.status == ACCEPTED], [r for r in written if r.status != ACCEPTED]
    ids = [i for i in dict.fromkeys((*pattern.representative_ids, *pattern.example_ids)) if i in failed]
    return PatternPage(
        number=numbers[pattern.id],
        iteration=found.iteration,
        pattern=pattern,
        strategy=strategy,
        after=after.name if after else None,
        n_errors=len(pattern.example_ids),
        n_fixed=sum(is_right(answered.get(i)) for i in pattern.example_ids) if answered else None,
        failures=tuple(_show_failure(failed[i], causes.get(i), answered.get(i)) for i in ids[:N_EXAMPLES]),
        accepted=tuple(accepted[:N_EXAMPLES]),
        rejected=tuple(rejected[:N_EXAMPLES]),
        n_accepted=len(accepted),
        n_rejected=len(rejected),
    )


def list_rows(files: RunFiles) -> list[SyntheticRow]:
    """Every synthetic row of the run, batch by batch, accepted ones first."""
    names = {(i.iteration, s.id): s.strategy_name for i in files.summary.patterns for s in i.strategies}
    rows: list[SyntheticRow] = []
    trained_in = {i: _trained_ids(files, i) for i in {batch.iteration for batch in files.batches}}
    left_out_in = {i: _reasons_left_out(files, i) for i in trained_in}
    for batch in files.batches:
        trained, left_out = trained_in[batch.iteration], left_out_in[batch.iteration]
        name = names.get((batch.iteration, batch.strategy_id or ""), batch.strategy_id)
        source = name or TRAINING_ERRORS
        accepted, rejected = files.accepted.get(batch.batch_id, ()), files.rejected.get(batch.batch_id, ())
        ratings = {r.example_id: r for r in files.ratings.get(batch.batch_id, ())}
        rows += [_show_accepted(e, batch, source, trained, left_out.get(e.id), ratings.get(e.id)) for e in accepted]
        rows += [_show_rejected(r, batch, source, trained) for r in rejected]
    return rows


def is_right(answer: ScoredRow | None) -> bool:
    """Whether there is an answer, and it is correct."""
    return answer is not None and answer.verdict.value == "correct"


def pick_evenly(rows: Sequence[SyntheticRow], n: int) -> list[SyntheticRow]:
    """At most `n` of the rows, evenly spaced from first to last."""
    return list(rows) if len(rows) <= n else [rows[i * len(rows) // n] for i in range(n)]


def cut(text: str) -> str:
    """The text, shortened if it is very long."""
    return text if len(text) <= MAX_CHARACTERS else f"{text[:MAX_CHARACTERS]} … ({len(text):,} characters)"


def _stack(
    files: RunFiles,
    found: IterationPatterns,
    model: ModelResult,
    numbers: Mapping[str, int],
    *,
    moment: Literal["before", "after"],
) -> FailureStack:
    n_diagnosis = model.validation.n - model.selection.n
    failed = {f.example.id for f in files.measured[model.name][:n_diagnosis] if not is_right(f)}
    segments = [
        Segment(
            number=numbers[pair.pattern.id],
            name=pair.pattern.category_name,
            n=len(failed.intersection(pair.pattern.example_ids)),
        )
        for pair in found.patterns
    ]
    rest = Segment(number=None, name="in no pattern", n=len(failed) - sum(s.n for s in segments))
    return FailureStack(iteration=found.iteration, moment=moment, model=model.name, segments=(*segments, rest))


def _by_id(files: RunFiles, model: ModelResult | None) -> dict[str, ScoredRow]:
    return {f.example.id: f for f in files.measured.get(model.name, ())} if model else {}


def _show_failure(failed: ScoredRow, cause: ErrorAnalysis | None, after: ScoredRow | None) -> FailureExample:
    return FailureExample(
        prompt=cut(failed.example.prompt),
        expected=cut(failed.example.answer),
        answered=cut(failed.verdict.extracted or failed.prediction.response),
        cause=cause.error_cause if cause else None,
        answered_after=cut(after.verdict.extracted or after.prediction.response) if after else None,
        is_fixed=is_right(after),
    )


def _trained_ids(files: RunFiles, iteration: int) -> set[str] | None:
    """Ids of the rows that the iteration trained on. None if unknown."""
    trained = files.trained.get(str(iteration))
    return None if trained is None else {row.id for row in trained}


def _reasons_left_out(files: RunFiles, iteration: int) -> dict[str, str]:
    """Why accepted rows of the iteration did not join the training data, by id."""
    return {i: r.reason for r in files.left_out.get(str(iteration), ()) if (i := name_rejected(r))}


def list_scores(rating: Rating | None) -> str:
    """The scores that apply, from 1 to 10, in words."""
    return ", ".join(f"{name} {score}" for name, score in rating.scores.items()) if rating else ""


def _show_accepted(
    row: Example,
    batch: BatchReport,
    source: str,
    trained: set[str] | None,
    left_out: str | None,
    rating: Rating | None,
) -> SyntheticRow:
    why = explain_acceptance(rating, decision=batch.decision)
    is_kept = left_out is None or row.id in (trained or ())
    return SyntheticRow(
        id=row.id,
        iteration=batch.iteration,
        status=ACCEPTED if is_kept else LEFT_OUT,
        source=source,
        strategy_id=batch.strategy_id,
        text=cut(f"{row.prompt}\n→ {row.answer}"),
        reason=cut(why if is_kept else f"{left_out}; {why}"),
        scores=list_scores(rating),
    )


def _show_rejected(rejection: Rejection, batch: BatchReport, source: str, trained: set[str] | None) -> SyntheticRow:
    example = rejection.example
    is_restored = example is not None and example.id in (trained or ())
    return SyntheticRow(
        id=example.id if example else batch.batch_id,
        iteration=batch.iteration,
        status=ACCEPTED if is_restored else rejection.stage,
        source=source,
        strategy_id=batch.strategy_id,
        text=cut(rejection.text),
        reason=cut(explain_acceptance(None, decision="", refused=rejection) if is_restored else rejection.reason),
        scores=list_scores(rejection.rating),
    )
