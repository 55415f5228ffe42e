"""Rounds of batches that run in parallel. The state keeps their totals, and the store their reports."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from pada_agent.agents.quality_control.judge_calibration import JudgeCalibration, calibrate
from pada_agent.core.config import ModelsConfig
from pada_agent.core.ports import ArtifactStore
from pada_agent.core.records import BatchReport, Record, Ref

N_LATEST = 3
"""Number of reports that a round contains in full."""
USUAL_AT_ONCE, MOST_AT_ONCE = 16, 256
"""Number of batches that are made at the same time, and its limit. A batch is a thread that mostly waits."""


def count_batches_at_once(models: ModelsConfig, *, beside_analysis: bool = False) -> int:
    """How many batches of a round are made at the same time: enough for the models' `max_concurrency`.

    With `economy: batch`, all that can be, because a call that is not asked with the others waits for another batch of the provider.

    Args:
        beside_analysis: the other branch is being analyzed meanwhile. One place for calls is left to the analyst if it shares them with
            writer or judge: its calls wait for each other, and each would have to wait for one of theirs to end as well.
    """
    roles = (models.analyst, models.generator, models.judge)
    if any(model.economy == "batch" for model in roles):
        return MOST_AT_ONCE
    places = {model.limits_key: model.max_concurrency for model in (models.generator, models.judge)}
    if beside_analysis and models.analyst.limits_key in places:
        return min(MOST_AT_ONCE, max(1, sum(places.values()) - 1))
    return min(MOST_AT_ONCE, max(USUAL_AT_ONCE, *(model.max_concurrency for model in roles)))


class WrittenRows(Record):
    """Counts of the rows that one strategy, or a branch without strategies, wrote in a round."""

    n_batches: int
    n_requested: int
    n_accepted: int


class BatchRound(Record):
    """Totals of the batches of one branch in an iteration, or of a top-up round."""

    iteration: int
    top_up: int = 0
    """Number of the round that replaces rejected rows. 0 for the first round."""
    n_batches: int
    n_requested: int
    n_asked: int
    """Rows requested from the generator, over all attempts."""
    n_written: int
    n_accepted: int
    n_rejected: dict[str, int]
    """Number of rejected rows by stage."""
    n_solved: int
    """Rows that the judge answered itself."""
    judge: JudgeCalibration
    """How the judge did on rows of known quality."""
    by_strategy: dict[str, WrittenRows]
    """By strategy id, or by branch for rows without a strategy."""
    latest: tuple[BatchReport, ...]
    """The last few reports, with a few of their rows."""
    reports: Ref
    """All reports, in the store."""
    path: str
    """The file with all reports, relative to the run's folder."""


def sum_up(reports: Sequence[BatchReport], stored: Ref) -> BatchRound:
    """Adds up the reports of a round.

    Args:
        reports: at least one.
        stored: the same reports in the store.
    """
    rejected = sum((Counter(report.n_rejected) for report in reports), Counter[str]())
    return BatchRound(
        iteration=reports[0].iteration,
        top_up=reports[0].top_up,
        n_batches=len(reports),
        n_requested=sum(report.n_requested for report in reports),
        n_asked=sum(report.n_asked for report in reports),
        n_written=sum(report.n_written for report in reports),
        n_accepted=sum(report.n_accepted for report in reports),
        n_rejected=dict(rejected),
        n_solved=sum(report.n_solved for report in reports),
        judge=calibrate([probe for report in reports for probe in report.probes]),
        by_strategy=_count_by_strategy(reports),
        latest=tuple(reports[-N_LATEST:]),
        reports=stored,
        path=f"objects/{stored.key}/rows.jsonl",
    )


def judge_in(rounds: Iterable[BatchRound]) -> JudgeCalibration:
    """How the judge did on rows of known quality, over all rounds."""
    return sum((r.judge for r in rounds), JudgeCalibration())


def read_reports(
    rounds: Iterable[BatchRound], store: ArtifactStore, *, iteration: int | None = None
) -> list[BatchReport]:
    """Reads the reports of all rounds from the store, in order.

    Args:
        iteration: read only the rounds of this iteration.

    Raises:
        ArtifactError: an object is missing or damaged.
    """
    wanted = [r for r in rounds if iteration is None or r.iteration == iteration]
    return [report for r in wanted for report in store.read_rows(r.reports.key, BatchReport)]


def _count_by_strategy(reports: Sequence[BatchReport]) -> Mapping[str, WrittenRows]:
    names = {report.strategy_id or report.branch: None for report in reports}
    by_name = {name: [r for r in reports if (r.strategy_id or r.branch) == name] for name in names}
    return {
        name: WrittenRows(
            n_batches=len(own),
            n_requested=sum(report.n_requested for report in own),
            n_accepted=sum(report.n_accepted for report in own),
        )
        for name, own in by_name.items()
    }
