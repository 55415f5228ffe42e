"""Whether the judge can tell good rows from bad: rows of known quality among those it rates.

A probe is text, never an `Example`: nothing can train on it.
"""

from collections.abc import Sequence
from random import Random
from typing import TypeVar, get_args

from pydantic import Field

from pada_agent.core.records import Example, JudgeProbe, ProbeKind, Rating, Record
from pada_agent.evaluation.task import Task

PairT = TypeVar("PairT")


class Pair(Record):
    """An original and what is rated beside it, field by field as `Task.show` has them."""

    id: str
    original: dict[str, str]
    synthetic: dict[str, str]


class Probe(Record):
    """A row of known quality."""

    kind: ProbeKind
    pair: Pair


class JudgeCalibration(Record):
    """How the judge fared on rows of known quality."""

    n_bad: int = 0
    """Known-bad rows that it rated."""
    n_caught: int = 0
    """Of these, rated below the threshold."""
    n_good: int = 0
    """Real training rows that it rated."""
    n_false_alarms: int = 0
    """Of these, rated below the threshold."""
    n_unrated: int = 0
    missed: dict[str, int] = Field(default_factory=dict)
    """Known-bad rows that passed, by kind."""


def make_probes(training: Sequence[Example], *, n_rows: int, share: float, task: Task, rng: Random) -> list[Probe]:
    """About `share` probes for each of `n_rows` rows, their kinds drawn evenly; none from fewer than three training rows."""
    n_probes = int(n_rows * share + rng.random()) if share else 0
    if len(training) < 3:
        return []
    return [_make_probe(rng.choice(get_args(ProbeKind)), training, n, task, rng) for n in range(n_probes)]


def mix(rows: Sequence[PairT], probes: Sequence[PairT], rng: Random) -> list[PairT]:
    """The rows in their order, with the probes at places drawn by `rng`."""
    mixed = list(rows)
    for probe in probes:
        mixed.insert(rng.randint(0, len(mixed)), probe)
    return mixed


def note_probe(probe: Probe, rating: Rating | None, *, threshold: float) -> JudgeProbe:
    """Utility and relevance alone decide: a training row was not written for a strategy."""
    passed = None if rating is None else (rating.utility + rating.relevance) / 2 >= threshold
    return JudgeProbe(kind=probe.kind, passed=passed)


def calibrate(probes: Sequence[JudgeProbe]) -> JudgeCalibration:
    """Catch rate and false alarms, as counts."""
    rated = [p for p in probes if p.passed is not None]
    bad, good = [p for p in rated if p.kind != "good"], [p for p in rated if p.kind == "good"]
    missed = [p.kind for p in bad if p.passed]
    return JudgeCalibration(
        n_bad=len(bad),
        n_caught=len(bad) - len(missed),
        n_good=len(good),
        n_false_alarms=sum(not p.passed for p in good),
        n_unrated=len(probes) - len(rated),
        missed={kind: missed.count(kind) for kind in sorted(set(missed))},
    )


def _make_probe(kind: ProbeKind, training: Sequence[Example], number: int, task: Task, rng: Random) -> Probe:
    original, row, other = rng.sample(list(training), 3)
    shown = task.show(original if kind == "copy" else row)
    if kind == "swapped key":
        shown = task.misanswer(row, _another_answer(row, training, task, rng) or other)
    if kind == "off format":
        shown = _put_out_of_form(shown)
    return Probe(kind=kind, pair=Pair(id=f"probe-{number + 1}", original=task.show(original), synthetic=shown))


def _another_answer(example: Example, training: Sequence[Example], task: Task, rng: Random) -> Example | None:
    others = [e for e in training if task.gold(e) != task.gold(example)]
    return rng.choice(others) if others else None


def _put_out_of_form(shown: dict[str, str]) -> dict[str, str]:
    """Every field holds another one's text."""
    names, texts = list(shown), list(shown.values())
    return dict(zip(names, [*texts[1:], texts[0]], strict=True))
