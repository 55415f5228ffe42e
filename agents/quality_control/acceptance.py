"""Decides what happens to rated rows. The same rule applies to the rows of known quality that measure the judge."""

from collections.abc import Mapping, Sequence

from pada_agent.agents.guards.guard import reject
from pada_agent.agents.quality_control.judge_calibration import Probe, note_probe
from pada_agent.agents.quality_control.rating import BatchRating
from pada_agent.core.config import QualityConfig
from pada_agent.core.records import Example, JudgeProbe, Rating, Record, Rejection

WEAK_BATCH = "good enough on its own, but its batch is not"
"""Part of the reason why a row with a good rating is rejected together with its batch (`quality.accept: batch`)."""


class Decision(Record):
    """The outcome of one attempt at a batch."""

    accepted: tuple[Example, ...]
    ratings: tuple[Rating, ...] = ()
    """Ratings of the accepted rows. Empty if nothing was rated."""
    rejected: tuple[Rejection, ...]
    word: str
    """One line for a person to read."""


def find_fault(rating: Rating, quality: QualityConfig) -> str | None:
    """Why a row with this rating is rejected: a score is below the floor, or the mean is below the threshold. None if it passes."""
    if low := _find_low(rating, quality):
        return f"{low} is below {quality.floor}"
    return f"mean {rating.mean:.1f} is below {quality.threshold:g}" if rating.mean < quality.threshold else None


def decide(
    candidates: Sequence[Example], rated: BatchRating, *, quality: QualityConfig, is_last_attempt: bool
) -> Decision:
    """Accept rows one by one or, as in the paper, the whole batch or nothing by its mean rating.

    After the last attempt, the rows of a weak batch are judged one by one (our interpretation of the paper). A row with
    a score below the floor is never accepted.
    """
    is_strong = _is_strong(rated, quality)
    as_a_whole = quality.accept == "batch" and (is_strong or not is_last_attempt)

    def passes(rating: Rating) -> bool:
        return is_strong and not _find_low(rating, quality) if as_a_whole else find_fault(rating, quality) is None

    ratings = {r.example_id: r for r in rated.ratings}
    kept = [c for c in candidates if c.id in ratings and passes(ratings[c.id])]
    ids = {c.id for c in kept}
    return Decision(
        accepted=tuple(kept),
        ratings=keep_ratings(kept, rated.ratings),
        rejected=tuple(_refuse(c, ratings.get(c.id), rated, quality) for c in candidates if c.id not in ids),
        word=_word(len(kept), len(candidates), rated, quality),
    )


def accept_unreviewed(candidates: Sequence[Example]) -> Decision:
    """Accept all candidates, because quality control is switched off."""
    return Decision(accepted=tuple(candidates), rejected=(), word="quality control is off")


def read_probes(
    probes: Sequence[Probe], rated: BatchRating, *, answered: Mapping[str, bool], quality: QualityConfig
) -> tuple[JudgeProbe, ...]:
    """What would happen to each row of known quality under the rule for synthetic rows.

    Args:
        answered: by probe id, whether the judge gave the probe's answer when it was asked without seeing it.
    """
    ratings = {r.example_id: r for r in rated.probe_ratings}
    return tuple(
        note_probe(
            probe,
            ratings.get(probe.pair.id),
            answered=answered.get(probe.pair.id),
            is_good_enough=lambda rating: find_fault(rating, quality) is None,
        )
        for probe in probes
    )


def keep_ratings(accepted: Sequence[Example], ratings: Sequence[Rating]) -> tuple[Rating, ...]:
    """The ratings of the accepted rows, in the order of the rows. Rows without a rating are skipped."""
    by_id = {r.example_id: r for r in ratings}
    return tuple(by_id[e.id] for e in accepted if e.id in by_id)


def word_rating(rating: Rating) -> str:
    """The judge's mean score and its reason, as shown with accepted and rejected rows."""
    return f"rated {rating.mean:.1f}: {rating.reason}" if rating.reason else f"rated {rating.mean:.1f}"


def explain_acceptance(rating: Rating | None, *, decision: str, refused: Rejection | None = None) -> str:
    """Why a row was accepted: the judge's reason or, without one, the decision on its batch.

    Args:
        refused: the rejection that a person overruled, if any.
    """
    if refused:
        return f"accepted in review; {refused.reason}"
    return word_rating(rating) if rating else decision


def _find_low(rating: Rating, quality: QualityConfig) -> str:
    """The scores below the floor, in words. Empty if there are none."""
    return ", ".join(f"{name} {score}" for name, score in rating.scores.items() if score < quality.floor)


def _is_strong(rated: BatchRating, quality: QualityConfig) -> bool:
    return rated.score is not None and rated.score >= quality.threshold


def _refuse(candidate: Example, rating: Rating | None, rated: BatchRating, quality: QualityConfig) -> Rejection:
    if rating is None:
        reason = rated.unrated.get(candidate.id, "the judge did not rate it")
        return reject(candidate, "quality", reason, may_be_overruled=True)
    reason = word_rating(rating)
    if find_fault(rating, quality) is None:
        reason += f" ({WEAK_BATCH}: mean {rated.score:.1f} is below {quality.threshold:g})"
    elif rating.mean >= quality.threshold:
        reason += f" ({_find_low(rating, quality)} is below {quality.floor})"
    return reject(candidate, "quality", reason, may_be_overruled=True).model_copy(update={"rating": rating})


def _word(n_kept: int, n_candidates: int, rated: BatchRating, quality: QualityConfig) -> str:
    shown = "nothing rated" if rated.score is None else f"mean {rated.score:.1f} of 10"
    if n_kept and n_kept == n_candidates:
        return f"accepted: {shown}"
    below = "" if rated.score is None or _is_strong(rated, quality) else f", below {quality.threshold:g}"
    return f"accepted {n_kept} of {n_candidates} rows: {shown}{below}" if n_kept else f"sent back: {shown}{below}"
