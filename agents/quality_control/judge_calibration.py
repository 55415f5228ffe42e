"""Measures whether the judge can tell good rows from bad ones, by mixing in rows of known quality (probes).

A probe is never part of the batch. It is rated and answered alongside its rows, and nothing can train on it.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from random import Random
from typing import TypeVar, get_args

from pydantic import Field

from pada_agent.core.records import Example, JudgeProbe, ProbeKind, Rating, Record
from pada_agent.evaluation.row_set import RowSet
from pada_agent.evaluation.task import Task

PairT = TypeVar("PairT")


class Pair(Record):
    """A training row and the row rated against it, field by field as returned by `Task.show`."""

    id: str
    original: dict[str, str]
    synthetic: dict[str, str]


class Claim(Record):
    """A question for the judge to answer itself, and an example that claims to hold the answer."""

    id: str
    question: Example
    claimed: Example


class Probe(Record):
    """A row of known quality."""

    kind: ProbeKind
    pair: Pair
    claim: Claim | None = None
    """None if its question cannot be answered."""


class JudgeCalibration(Record):
    """How the judge did on rows of known quality."""

    n_bad: int = 0
    """Number of bad rows that it was shown."""
    n_caught: int = 0
    """Number of these that were rejected under the rule for synthetic rows: rating, plus independent solving where it is used."""
    n_caught_by_rating: int = 0
    """Number of these that their rating alone would have rejected."""
    n_caught_by_answer: int = 0
    """Number of these that were rejected because the judge gave a different answer."""
    n_answered: int = 0
    """Number of bad rows that it was asked to answer, and answered."""
    n_good: int = 0
    """Number of real training rows that it was shown."""
    n_false_alarms: int = 0
    """Number of these that were rejected."""
    n_unrated: int = 0
    """Number of probes that the judge skipped."""
    missed: dict[str, int] = Field(default_factory=dict)
    """Number of bad rows that passed, by kind."""

    def __add__(self, other: "JudgeCalibration") -> "JudgeCalibration":
        counts = {
            name: getattr(self, name) + getattr(other, name) for name in type(self).model_fields if name != "missed"
        }
        kinds = sorted({*self.missed, *other.missed})
        return JudgeCalibration(**counts, missed={k: self.missed.get(k, 0) + other.missed.get(k, 0) for k in kinds})


def make_probes(training: Sequence[Example], *, n_rows: int, share: float, task: Task, rng: Random) -> list[Probe]:
    """About `share * n_rows` probes, all kinds equally likely. Empty if there are fewer than three training rows."""
    training = RowSet.of(training)
    n_probes = int(n_rows * share + rng.random()) if share else 0
    if len(training) < 3:
        return []
    return [_make_probe(rng.choice(get_args(ProbeKind)), training, n, task, rng) for n in range(n_probes)]


def mix(rows: Sequence[PairT], probes: Sequence[PairT], rng: Random) -> list[PairT]:
    """The rows in their order, with the probes inserted at random positions."""
    mixed = list(rows)
    for probe in probes:
        mixed.insert(rng.randint(0, len(mixed)), probe)
    return mixed


def note_probe(
    probe: Probe, rating: Rating | None, *, answered: bool | None, is_good_enough: Callable[[Rating], bool]
) -> JudgeProbe:
    """What would happen to a synthetic row with this rating and this answer.

    For a good probe, adherence is ignored: it was not written for the batch's strategy, so it may well be low.

    Args:
        answered: whether the judge gave the answer shown in the probe. None if it was not asked or gave no answer.
        is_good_enough: whether a rating passes, under the rule for synthetic rows.
    """
    if rating is None:
        return JudgeProbe(kind=probe.kind, passed=None, answered=answered)
    counted = rating.model_copy(update={"adherence": None}) if probe.kind == "good" else rating
    rated_well = is_good_enough(counted)
    return JudgeProbe(
        kind=probe.kind, passed=rated_well and answered is not False, rated_well=rated_well, answered=answered
    )


def calibrate(probes: Sequence[JudgeProbe]) -> JudgeCalibration:
    """Counts of caught bad rows and of false alarms."""
    rated = [p for p in probes if p.passed is not None]
    bad, good = [p for p in rated if p.kind != "good"], [p for p in rated if p.kind == "good"]
    missed = [p.kind for p in bad if p.passed]
    return JudgeCalibration(
        n_bad=len(bad),
        n_caught=len(bad) - len(missed),
        n_caught_by_rating=sum(p.rated_well is False for p in bad),
        n_caught_by_answer=sum(p.answered is False for p in bad),
        n_answered=sum(p.answered is not None for p in bad),
        n_good=len(good),
        n_false_alarms=sum(not p.passed for p in good),
        n_unrated=len(probes) - len(rated),
        missed={kind: missed.count(kind) for kind in sorted(set(missed))},
    )


def _make_probe(kind: ProbeKind, training: RowSet, number: int, task: Task, rng: Random) -> Probe:
    original, row, other = rng.sample(training, 3)
    probe_id, asked = f"probe-{number + 1}", original if kind == "copy" else row
    claimed, shown = asked, task.show(asked)
    if kind == "swapped key":
        other = _another_answer(row, training, task, rng) or other
        claimed, shown = task.misanswered(row, other), task.misanswer(row, other)
    if kind == "off format":
        shown = _put_out_of_form(shown)
    return Probe(
        kind=kind,
        pair=Pair(id=probe_id, original=task.show(original), synthetic=shown),
        claim=None if kind == "off format" else Claim(id=probe_id, question=asked, claimed=claimed),
    )


def _another_answer(example: Example, training: RowSet, task: Task, rng: Random) -> Example | None:
    """A training row with a different answer; all such rows are equally likely. None if there is none."""
    same = training.remember("places by answer", lambda: _find_places(training, task))[task.gold(example)]
    if len(same) == len(training):
        return None
    n = rng.randrange(len(training) - len(same))
    n_before = bisect_right(range(len(same)), n, key=lambda i: same[i] - i)  # rows of this answer before the nth other
    return training[n + n_before]


def _find_places(rows: Sequence[Example], task: Task) -> dict[str, list[int]]:
    """Positions of the rows with each answer."""
    places: dict[str, list[int]] = {}
    for place, row in enumerate(rows):
        places.setdefault(task.gold(row), []).append(place)
    return places


def _put_out_of_form(shown: dict[str, str]) -> dict[str, str]:
    """Shift the texts by one field, so that every field holds the text of another."""
    names, texts = list(shown), list(shown.values())
    return dict(zip(names, [*texts[1:], texts[0]], strict=True))
