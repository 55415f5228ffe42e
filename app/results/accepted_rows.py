"""The synthetic rows that an iteration trained on, each with the reason why it was accepted: the lines of `iterations/<i>/synthetic.jsonl`."""

from collections.abc import Iterable, Mapping, Sequence

from pada_agent.agents.quality_control.acceptance import explain_acceptance
from pada_agent.core.records import BatchReport, Example, Rating, Rejection


class AcceptedRow(Example):
    """A row for a reader. Training uses the examples in the store, which contain no ratings."""

    reason: str = ""
    """The judge's reason. If nothing was rated, why the row was accepted."""
    rating: Rating | None = None


def explain_rows(
    rows: Iterable[Example],
    batches: Mapping[str, BatchReport],
    ratings: Mapping[str, Rating],
    rejected: Sequence[Rejection],
) -> list[AcceptedRow]:
    """The rows, each with the reason why it was accepted.

    Args:
        batches: the iteration's batches by id.
        ratings: ratings of accepted rows, by row id.
        rejected: the iteration's rejections, some of which a person may have overruled.
    """
    refused = {r.example.id: r for r in rejected if r.example}
    return [_explain(row, batches, ratings.get(row.id), refused.get(row.id)) for row in rows]


def _explain(
    row: Example, batches: Mapping[str, BatchReport], rating: Rating | None, refused: Rejection | None
) -> AcceptedRow:
    batch = batches.get(row.provenance.batch_id) if row.provenance else None
    return AcceptedRow(
        **row.model_dump(),
        reason=explain_acceptance(rating, decision=batch.decision if batch else "", refused=refused),
        rating=rating or (refused.rating if refused else None),
    )
