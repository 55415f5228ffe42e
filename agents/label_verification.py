"""Label verification: what can be checked exactly is, before any judge is asked."""

from collections.abc import Sequence

from pada_agent.agents.data_generation import Assignment
from pada_agent.core.records import Draft, Example, Record, Rejection, RejectionStage
from pada_agent.evaluation.contamination import find_duplicates, find_overlap
from pada_agent.evaluation.task import DraftProblem, Task


class VerifiedDrafts(Record):
    """Drafts that became examples, and those that did not, with the reason."""

    candidates: tuple[Example, ...]
    rejections: tuple[Rejection, ...]


def verify_drafts(
    drafts: Sequence[Draft],
    assignments: Sequence[Assignment],
    *,
    task: Task,
    existing: Sequence[Example],
    protected: Sequence[Example],
    near_duplicate_rouge: float,
) -> VerifiedDrafts:
    """Format, label, repetition and contamination, in that order.

    Args:
        existing: rows a draft must not repeat (training data so far).
        protected: validation and test rows.
    """
    by_row = {a.row: a for a in assignments}
    candidates: list[Example] = []
    rejections: list[Rejection] = []
    for draft in drafts:
        made = _compose(draft, by_row[draft.row], task)
        if isinstance(made, Example):
            candidates.append(made)
        else:
            rejections.append(made)
    candidates = _drop_repeats(candidates, existing, near_duplicate_rouge, rejections)
    candidates = _drop_contaminated(candidates, protected, rejections)
    return VerifiedDrafts(candidates=tuple(candidates), rejections=tuple(rejections))


def row_of(example: Example) -> int:
    """Place in its batch of a synthetic example."""
    return int(example.id.rsplit("-r", 1)[1]) - 1


def reject(example: Example, stage: RejectionStage, reason: str) -> Rejection:
    """A rejection that keeps the example's text and provenance."""
    if example.provenance is None:
        raise ValueError(f"{example.id} is not a synthetic example")
    return Rejection(
        stage=stage,
        reason=reason,
        text=f"{example.prompt}\n→ {example.answer}",
        provenance=example.provenance,
        example=example if stage == "quality" else None,
    )


def _compose(draft: Draft, assignment: Assignment, task: Task) -> Example | Rejection:
    origin = draft.provenance
    example_id = f"syn-{origin.batch_id}-a{origin.attempt}-r{draft.row + 1}"
    made = task.compose(draft.fields, source=assignment.source, given=assignment.given, example_id=example_id)
    if isinstance(made, DraftProblem):
        text = "\n".join(f"{name}: {value}" for name, value in draft.fields.items())
        return Rejection(stage="format", reason=made.reason, text=text, provenance=origin)
    example = made.model_copy(update={"provenance": origin})
    verdict = task.verify_label(example)
    return reject(example, "label", verdict.reason) if verdict.value == "wrong" else example


def _drop_repeats(
    candidates: list[Example], existing: Sequence[Example], threshold: float, rejections: list[Rejection]
) -> list[Example]:
    repeats = {o.example_id: o for o in find_duplicates(candidates, existing, threshold=threshold)}
    rejections += [
        reject(c, "duplicate", f"repeats {repeats[c.id].protected_id}: {repeats[c.id].evidence}")
        for c in candidates
        if c.id in repeats
    ]
    return [c for c in candidates if c.id not in repeats]


def _drop_contaminated(
    candidates: list[Example], protected: Sequence[Example], rejections: list[Rejection]
) -> list[Example]:
    overlaps = {o.example_id: o for o in find_overlap(candidates, protected)}
    rejections += [
        reject(c, "contamination", f"{overlaps[c.id].kind} overlap with a held-out row: {overlaps[c.id].evidence}")
        for c in candidates
        if c.id in overlaps
    ]
    return [c for c in candidates if c.id not in overlaps]
