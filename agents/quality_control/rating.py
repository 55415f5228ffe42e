"""Quality Control Agent: rates a batch, sends it back with feedback, or keeps what stands on its own."""

from collections.abc import Mapping, Sequence
from random import Random

from pydantic import BaseModel, ConfigDict, Field, create_model

from pada_agent.agents.concurrency import map_concurrently
from pada_agent.agents.guards.draft_checks import reject
from pada_agent.agents.quality_control.judge_calibration import Pair, Probe, mix, note_probe
from pada_agent.core.errors import StructuredOutputError
from pada_agent.core.records import Batch, Example, JudgeProbe, Rating, Record, Rejection
from pada_agent.evaluation.task import Task
from pada_agent.prompts.numbering import align_items
from pada_agent.prompts.prompted_model import PromptedModel


class RatingItem(BaseModel):
    """What the judge returns for one sample: the reason before the scores."""

    model_config = ConfigDict(extra="ignore")

    sample: int = Field(description="number of the sample")
    reason: str = Field(min_length=3, description="does the answer fit, and why, at most 15 words")


class BatchRating(Record):
    """The judge's word on one attempt at a batch."""

    ratings: tuple[Rating, ...]
    unrated_ids: tuple[str, ...] = ()
    problem: str = ""
    """Why nothing could be rated, if so."""
    probe_ratings: tuple[Rating, ...] = ()
    """Of the probes, under their ids; they count in nothing else."""

    @property
    def score(self) -> float | None:
        """Mean rating of the attempt; None when nothing was rated."""
        return sum(r.mean for r in self.ratings) / len(self.ratings) if self.ratings else None


class Decision(Record):
    """What becomes of an attempt."""

    accepted: tuple[Example, ...]
    ratings: tuple[Rating, ...] = ()
    """Of the accepted rows; empty when nothing is rated."""
    rejected: tuple[Rejection, ...]
    feedback: str
    """For the next attempt; says what was wrong."""
    word: str
    """One line for a person."""


def rate_batch(
    candidates: Sequence[Example],
    sources: Mapping[str, Example],
    *,
    batch: Batch,
    attempt: int,
    task: Task,
    judge: PromptedModel,
    rows_per_call: int | None = None,
    probes: Sequence[Probe] = (),
) -> BatchRating:
    """Rate every candidate from 1 to 10: adherence (pattern branch only), utility, relevance (paper, quality control).

    Probes stand among the candidates, at places drawn by the batch's id, and are rated like them.
    """
    pairs = [_pair(c, sources, task) for c in candidates]
    pairs = mix(pairs, [p.pair for p in probes], Random(f"mix/{batch.id}/{attempt}"))
    size = rows_per_call or max(1, len(pairs))
    chunks = [pairs[start : start + size] for start in range(0, len(pairs), size)]

    about = task.about(candidates)

    def review(chunk: Sequence[Pair]) -> BatchRating:
        return _review_chunk(chunk, batch=batch, attempt=attempt, about=about, judge=judge)

    reviews = map_concurrently(review, chunks)
    probe_ids = {p.pair.id for p in probes}
    ratings = [rating for r in reviews for rating in r.ratings]
    return BatchRating(
        ratings=tuple(r for r in ratings if r.example_id not in probe_ids),
        unrated_ids=tuple(i for r in reviews for i in r.unrated_ids if i not in probe_ids),
        problem="; ".join(dict.fromkeys(r.problem for r in reviews if r.problem)),
        probe_ratings=tuple(r for r in ratings if r.example_id in probe_ids),
    )


def read_probes(probes: Sequence[Probe], review: BatchRating, *, threshold: float) -> tuple[JudgeProbe, ...]:
    """What the judge made of each probe."""
    ratings = {r.example_id: r for r in review.probe_ratings}
    return tuple(note_probe(p, ratings.get(p.pair.id), threshold=threshold) for p in probes)


def _review_chunk(
    pairs: Sequence[Pair],
    *,
    batch: Batch,
    attempt: int,
    about: str,
    judge: PromptedModel,
) -> BatchRating:
    variables = {
        "task": about,
        "strategy": batch.strategy.strategy if batch.strategy else None,
        "pairs": [_describe_pair(n, pair) for n, pair in enumerate(pairs, start=1)],
    }
    tags: dict[str, str | int] = {
        "agent": "quality_control",
        "iteration": batch.iteration,
        "batch": batch.id,
        "attempt": attempt,
    }
    item = rating_item(with_adherence=batch.strategy is not None)
    try:
        reply = judge.ask(
            "quality_control", variables, item, expect=len(pairs), draw=f"{batch.id}/{attempt}", tags=tags
        )
    except StructuredOutputError as exc:
        return BatchRating(ratings=(), unrated_ids=tuple(pair.id for pair in pairs), problem=str(exc))
    by_number = align_items(reply.items, range(1, len(pairs) + 1), lambda item: item.sample)
    ratings = [_to_rating(by_number[n], pair) for n, pair in enumerate(pairs, start=1) if n in by_number]
    rated = {r.example_id for r in ratings}
    return BatchRating(ratings=tuple(ratings), unrated_ids=tuple(pair.id for pair in pairs if pair.id not in rated))


def rating_item(*, with_adherence: bool) -> type[RatingItem]:
    """The item model; adherence is asked only where there is a strategy to adhere to."""
    texts = {
        "adherence": "score: 10 if it follows the strategy, 5 in part, 1 not at all",
        "utility": "score: 10 if its answer is right and learning from it helps, 5 if doubtful, 1 if the answer is wrong",
        "relevance": "score: 10 if it has the form and style of the original and makes sense, 1 if not",
    }
    definitions = {
        name: (int, Field(ge=1, le=10, description=text))
        for name, text in texts.items()
        if with_adherence or name != "adherence"
    }
    feedback = (str, Field(default="", description="what to change, a few words; empty if nothing"))
    return create_model("Rating", __base__=RatingItem, feedback=feedback, **definitions)  # type: ignore[call-overload, no-any-return]


def decide(candidates: Sequence[Example], review: BatchRating, *, threshold: float, is_last_attempt: bool) -> Decision:
    """Accept the rated rows of a batch at or above the threshold; below it, all go back.

    After the last attempt a weak batch is salvaged row by row: what passes alone is kept (our reading of the paper).
    """
    ratings = {r.example_id: r for r in review.ratings}
    rated = [c for c in candidates if c.id in ratings]
    unrated = tuple(
        reject(c, "quality", review.problem or "the judge did not rate it") for c in candidates if c.id not in ratings
    )
    score = review.score
    if score is not None and score >= threshold:
        word = f"accepted: mean {score:.1f} of 10"
        return Decision(
            accepted=tuple(rated),
            ratings=keep_ratings(rated, review.ratings),
            rejected=unrated,
            feedback=_feedback(review, candidates, threshold),
            word=word,
        )
    keep = [c for c in rated if is_last_attempt and ratings[c.id].mean >= threshold]
    rejected = tuple(
        reject(c, "quality", word_rating(ratings[c.id])).model_copy(update={"rating": ratings[c.id]})
        for c in rated
        if c not in keep
    )
    shown = "nothing rated" if score is None else f"mean {score:.1f} of 10, below {threshold:g}"
    word = f"salvaged {len(keep)} of {len(rated)} rows: {shown}" if is_last_attempt else f"sent back: {shown}"
    return Decision(
        accepted=tuple(keep),
        ratings=keep_ratings(keep, review.ratings),
        rejected=rejected + unrated,
        feedback=_feedback(review, candidates, threshold),
        word=word,
    )


def word_rating(rating: Rating) -> str:
    """The judge's mean and its reason, as rejected and accepted rows give them."""
    return f"rated {rating.mean:.1f}: {rating.reason}"


def keep_ratings(accepted: Sequence[Example], ratings: Sequence[Rating]) -> tuple[Rating, ...]:
    """The ratings of the accepted rows, in their order; rows that nobody rated have none."""
    by_id = {r.example_id: r for r in ratings}
    return tuple(by_id[e.id] for e in accepted if e.id in by_id)


def explain_acceptance(rating: Rating | None, *, decision: str, refused: Rejection | None = None) -> str:
    """Why a row is in: the judge's word on it, else what became of its batch; `refused` is what a person overruled."""
    if refused:
        return f"accepted in review; {refused.reason}"
    return word_rating(rating) if rating else decision.removeprefix("accepted: ")


def accept_unreviewed(candidates: Sequence[Example]) -> Decision:
    """All candidates, when quality control is switched off."""
    return Decision(accepted=tuple(candidates), rejected=(), feedback="", word="accepted: quality control is off")


def describe_rejections(rejections: Sequence[Rejection]) -> str:
    """Feedback to the generator from what never reached the judge; held-out text is not repeated."""
    lines = []
    for rejection in rejections:
        if rejection.stage == "quality":
            continue
        reason = "too close to text that must not be used" if rejection.stage == "contamination" else rejection.reason
        lines.append(f"- {reason}")
    return "\n".join(dict.fromkeys(lines))


def _pair(candidate: Example, sources: Mapping[str, Example], task: Task) -> Pair:
    source = sources[candidate.provenance.source_id] if candidate.provenance else candidate
    return Pair(id=candidate.id, original=task.show(source), synthetic=task.show(candidate))


def _describe_pair(number: int, pair: Pair) -> dict[str, object]:
    """What both have in common stands once; a copy is shown twice, so that it can be seen to be one."""
    original, synthetic = pair.original, pair.synthetic
    shared = {name: value for name, value in synthetic.items() if original.get(name) == value}
    if shared == synthetic:
        shared = {}
    return {
        "number": number,
        "shared": shared,
        "original": {name: value for name, value in original.items() if name not in shared},
        "synthetic": {name: value for name, value in synthetic.items() if name not in shared},
    }


def _to_rating(item: RatingItem, pair: Pair) -> Rating:
    values = item.model_dump(exclude={"sample"})
    return Rating(example_id=pair.id, **values)


def _feedback(review: BatchRating, candidates: Sequence[Example], threshold: float) -> str:
    rows = {c.id: c.provenance.row + 1 for c in candidates if c.provenance}
    return "\n".join(
        f"- row {rows[r.example_id]} (rated {r.mean:.1f}): {r.feedback or r.reason}"
        for r in review.ratings
        if r.mean < threshold
    )
