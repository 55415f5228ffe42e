"""The synthetic rows that an iteration trained on, each with why it is in: the lines of `iterations/<i>/synthetic.jsonl`."""

from collections.abc import Iterable, Mapping, Sequence

from pada_agent.agents.quality_control.acceptance import explain_acceptance
from pada_agent.core.records import BatchReport, Example, Rating, Rejection


class AcceptedRow(Example):
    """A row for a reader. What is trained on are the examples in the store, which know of no rating."""

    reason: str = ""
    """The judge's; where it rated nothing, why the row is in all the same. Empty in runs of versions that kept none."""
    rating: Rating | None = None


def explain_rows(
    rows: Iterable[Example],
    batches: Mapping[str, BatchReport],
    ratings: Mapping[str, Rating],
    rejected: Sequence[Rejection],
) -> list[AcceptedRow]:
    """The rows with the judge's word on each.

    Args:
        batches: by id; those of the iteration.
        ratings: of accepted rows, by row id.
        rejected: those of the iteration, of which a person may have taken some in.
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
