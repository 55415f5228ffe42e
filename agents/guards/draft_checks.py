"""Label verification: what can be checked exactly is, before any judge is asked."""

from collections.abc import Callable, Sequence

from pada_agent.agents.data_generation.generate import Assignment
from pada_agent.agents.guards.label_likelihood import LabelRank, rank_labels
from pada_agent.core.ports import Embedder
from pada_agent.core.records import Draft, Example, Overlap, Record, Rejection, RejectionStage
from pada_agent.evaluation.contamination import find_duplicates, find_near, find_overlap
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
    embedder: Embedder | None = None,
    contamination_similarity: float | None = None,
    training: Sequence[Example] = (),
    max_label_rank: int | None = None,
    find_problem: Callable[[Example], str | None] = lambda _: None,
) -> VerifiedDrafts:
    """Format, label, repetition, contamination and likeness to the label's training rows, in that order.

    Args:
        existing: rows a draft must not repeat (training data so far).
        protected: validation and test rows.
        contamination_similarity: cosine at which a draft says what a protected row says; None compares words only.
        training: the human rows, for `max_label_rank`: a draft's label has to be among the so many likeliest by them.
        find_problem: why the student cannot be trained on a row, if it cannot.
    """
    by_row = {a.row: a for a in assignments}
    candidates: list[Example] = []
    rejections: list[Rejection] = []
    for draft in drafts:
        made = _compose(draft, by_row[draft.row], task, find_problem)
        if isinstance(made, Example):
            candidates.append(made)
        else:
            rejections.append(made)
    candidates = _drop_repeats(candidates, existing, near_duplicate_rouge, rejections)
    candidates = _drop_contaminated(candidates, find_overlap(candidates, protected), rejections)
    if embedder is not None and contamination_similarity is not None:
        near = find_near(candidates, protected, embedder=embedder, threshold=contamination_similarity)
        candidates = _drop_contaminated(candidates, near, rejections)
    if embedder is not None and max_label_rank is not None:
        ranks = rank_labels(candidates, training, task=task, embedder=embedder)
        candidates = _drop_strayed(candidates, ranks, max_label_rank, rejections)
    return VerifiedDrafts(candidates=tuple(candidates), rejections=tuple(rejections))


def is_a_persons_matter(stage: RejectionStage, overlap: Overlap | None) -> bool:
    """Whether a person may overrule a rejection: what a model judged, but nothing that was checked exactly."""
    return stage in ("unlikely", "quality", "verification") or (overlap is not None and overlap.kind == "embedding")


def reject(example: Example, stage: RejectionStage, reason: str, overlap: Overlap | None = None) -> Rejection:
    """A rejection that keeps the example's text and provenance, and the row it overlaps as evidence."""
    if example.provenance is None:
        raise ValueError(f"{example.id} is not a synthetic example")
    return Rejection(
        stage=stage,
        reason=reason,
        text=f"{example.prompt}\n→ {example.answer}",
        provenance=example.provenance,
        overlap=overlap,
        example=example if is_a_persons_matter(stage, overlap) else None,
    )


def _compose(
    draft: Draft, assignment: Assignment, task: Task, find_problem: Callable[[Example], str | None]
) -> Example | Rejection:
    origin = draft.provenance
    example_id = f"syn-{origin.batch_id}-a{origin.attempt}-r{draft.row + 1}"
    made = task.compose(draft.fields, source=assignment.source, given=assignment.given, example_id=example_id)
    if isinstance(made, DraftProblem):
        text = "\n".join(f"{name}: {value}" for name, value in draft.fields.items())
        return Rejection(stage="format", reason=made.reason, text=text, provenance=origin)
    example = made.model_copy(update={"provenance": origin})
    if problem := find_problem(example):
        return reject(example, "format", problem)
    verdict = task.verify_label(example)
    return reject(example, "label", verdict.reason) if verdict.value == "wrong" else example


def _drop_repeats(
    candidates: list[Example], existing: Sequence[Example], threshold: float, rejections: list[Rejection]
) -> list[Example]:
    repeats = {o.example_id: o for o in find_duplicates(candidates, existing, threshold=threshold)}
    rejections += [
        reject(c, "duplicate", f"repeats {repeats[c.id].protected_id}: {repeats[c.id].evidence}", repeats[c.id])
        for c in candidates
        if c.id in repeats
    ]
    return [c for c in candidates if c.id not in repeats]


def _drop_strayed(
    candidates: list[Example], ranks: Sequence[LabelRank | None], max_rank: int, rejections: list[Rejection]
) -> list[Example]:
    strayed = {c.id: r for c, r in zip(candidates, ranks, strict=True) if r and r.rank > max_rank}
    rejections += [
        reject(c, "unlikely", f"reads like {r.likeliest}, not like {c.answer}")
        for c in candidates
        if (r := strayed.get(c.id))
    ]
    return [c for c in candidates if c.id not in strayed]


def _drop_contaminated(
    candidates: list[Example], found: Sequence[Overlap], rejections: list[Rejection]
) -> list[Example]:
    overlaps = {o.example_id: o for o in found}
    rejections += [
        reject(c, "contamination", f"{o.kind} overlap with held-out row {o.protected_id}: {o.evidence}", o)
        for c in candidates
        if (o := overlaps.get(c.id))
    ]
    return [c for c in candidates if c.id not in overlaps]
