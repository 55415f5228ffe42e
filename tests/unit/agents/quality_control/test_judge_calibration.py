"""Rows of known quality: how they are made, mixed in, and counted."""

import json
from random import Random

import pytest

from pada_agent.agents.quality_control.acceptance import find_fault, read_probes
from pada_agent.agents.quality_control.judge_calibration import Probe, _another_answer, calibrate, make_probes, mix
from pada_agent.agents.quality_control.rating import BatchRating, rate_batch
from pada_agent.core.chat import ChatRequest
from pada_agent.core.config import QualityConfig, TaskConfig
from pada_agent.core.raw_rows import RawRow
from pada_agent.core.records import Example, JudgeProbe, ProbeKind, Provenance, Rating
from pada_agent.evaluation.row_set import RowSet
from pada_agent.evaluation.task import Task
from pada_agent.evaluation.tasks.registry import make_task
from pada_agent.prompts.prompted_model import PromptedModel
from tests.fakes import ScriptedModel

LABELS = {"bill": "asks for money", "lamp": "gives light", "door": "opens"}
CLOSED = make_task(TaskConfig(name="multiple_choice", labels=LABELS))
OPEN = make_task(TaskConfig(name="multiple_choice"))
SPAN = make_task(TaskConfig(name="extractive_qa"))


def read(task: Task, n: int, **fields: object) -> Example:
    return task.read(RawRow(where="t", fields={"id": f"t{n}", "question": f"question {n}", **fields}))


TRAINING = {
    "closed": (CLOSED, [read(CLOSED, n, answer=list(LABELS)[n % 3]) for n in range(9)]),
    "open": (OPEN, [read(OPEN, n, choices=[f"a{n}", f"b{n}"], answer=f"a{n}") for n in range(9)]),
    "span": (SPAN, [read(SPAN, n, context=f"passage with word{n}", answer=f"word{n}") for n in range(9)]),
}


@pytest.mark.parametrize("name", TRAINING)
def test_every_kind_of_probe_is_what_it_says(name: str) -> None:
    task, training = TRAINING[name]
    real = [task.show(e) for e in training]
    probes = make_probes(training, n_rows=60, share=1.0, task=task, rng=Random(0))
    assert {p.kind for p in probes} == {"good", "swapped key", "copy", "off format"}
    for probe in probes:
        shown, original = probe.pair.synthetic, probe.pair.original
        assert original in real
        assert (shown in real) == (probe.kind in ("good", "copy"))
        assert (shown == original) == (probe.kind == "copy")
        assert shown.keys() == original.keys() or name == "open"
        if probe.kind == "swapped key":
            (truth,) = [r for r in real if r["question"] == shown["question"]]
            assert shown != truth


def test_the_number_of_probes_is_the_share_on_average() -> None:
    task, training = TRAINING["closed"]
    n = sum(len(make_probes(training, n_rows=5, share=0.1, task=task, rng=Random(seed))) for seed in range(400))
    assert 160 < n < 240
    assert make_probes(training, n_rows=50, share=0.0, task=task, rng=Random(0)) == []
    assert make_probes(training[:2], n_rows=50, share=1.0, task=task, rng=Random(0)) == []


@pytest.mark.parametrize("n_labels", [1, 2, 3, 7])
def test_another_answer_is_drawn_as_from_the_list_of_all_rows_with_one(n_labels: int) -> None:
    rows = [read(OPEN, n, choices=[f"a{n % n_labels}", "z"], answer=f"a{n % n_labels}") for n in range(11)]
    for place, row in enumerate(rows):
        others = [e for e in rows if OPEN.gold(e) != OPEN.gold(row)]
        wanted = Random(place).choice(others) if others else None
        assert _another_answer(row, RowSet(rows), OPEN, Random(place)) == wanted


def test_probes_stand_among_the_rows_and_the_rows_keep_their_order() -> None:
    mixed = mix(list(range(10)), ["p", "q"], Random(3))
    assert [x for x in mixed if isinstance(x, int)] == list(range(10))
    assert len(mixed) == 12


def probe(kind: ProbeKind) -> Probe:
    found = make_probes(TRAINING["closed"][1], n_rows=60, share=1.0, task=CLOSED, rng=Random(0))
    return next(p for p in found if p.kind == kind)


@pytest.mark.parametrize("name", ["closed", "open"])
def test_a_swapped_key_claims_the_answer_it_shows_and_a_good_row_its_own(name: str) -> None:
    task, training = TRAINING[name]
    answer = {"closed": "answer", "open": "correct"}[name]
    for found in make_probes(training, n_rows=60, share=1.0, task=task, rng=Random(0)):
        if found.kind == "off format":
            assert found.claim is None
            continue
        assert found.claim is not None
        truth, posed = found.claim.question, task.pose(found.claim.question, Random(0))
        assert posed is not None
        gold = task.gold(truth)
        assert task.agrees(found.claim.claimed, gold, posed) == (found.kind != "swapped key")
        if name == "open":
            assert task.agrees(found.claim.claimed, found.pair.synthetic[answer], posed)


@pytest.mark.parametrize(
    ("kind", "scores", "answered", "passed"),
    [
        ("swapped key", (10, 8, 8), None, True),
        ("swapped key", (10, 8, 8), True, True),
        ("swapped key", (10, 8, 8), False, False),
        ("swapped key", (10, 1, 10), None, False),
        ("swapped key", (10, 6, 6), None, True),
        ("copy", (10, 6, 4), True, False),
        ("good", (1, 8, 8), None, True),
        ("good", (10, 6, 6), None, False),
        ("good", (10, 8, 8), False, False),
    ],
)
def test_a_known_row_is_judged_by_the_rule_for_rows(
    kind: ProbeKind, scores: tuple[int, int, int], answered: bool | None, passed: bool
) -> None:
    """A good one was not written for the strategy: its adherence alone does not count against it, nor for it."""
    known = probe(kind)
    given = Rating(example_id=known.pair.id, reason="so", adherence=scores[0], utility=scores[1], relevance=scores[2])
    rated = BatchRating(ratings=(), probe_ratings=(given,))
    answers = {} if answered is None else {known.pair.id: answered}
    (noted,) = read_probes([known], rated, answered=answers, quality=QualityConfig())
    assert noted.passed is passed and noted.answered is answered
    if kind != "good":
        row_passes = find_fault(given, QualityConfig()) is None and answered is not False
        assert noted.passed is row_passes


def test_a_known_row_without_a_rating_is_not_judged() -> None:
    (noted,) = read_probes([probe("copy")], BatchRating(ratings=()), answered={}, quality=QualityConfig())
    assert noted.passed is None


def test_catches_false_alarms_and_what_was_missed_are_counted() -> None:
    found = calibrate(
        [
            JudgeProbe(kind="copy", passed=True, rated_well=True, answered=True),
            JudgeProbe(kind="swapped key", passed=False, rated_well=True, answered=False),
            JudgeProbe(kind="off format", passed=None),
            JudgeProbe(kind="good", passed=False),
            JudgeProbe(kind="good", passed=True),
        ]
    )
    assert (found.n_bad, found.n_caught, found.n_good, found.n_false_alarms, found.n_unrated) == (2, 1, 2, 1, 1)
    assert (found.n_caught_by_rating, found.n_caught_by_answer, found.n_answered) == (0, 1, 2)
    assert found.missed == {"copy": 1}


def test_probes_are_rated_with_the_rows_and_count_in_no_score() -> None:
    task, training = TRAINING["closed"]
    origin = Provenance(branch="training_error", iteration=1, batch_id="b", attempt=1, source_id="t0")
    made = task.compose({"question": "a zebra"}, source=training[0], given={}, example_id="syn-b-a1-r1")
    assert isinstance(made, Example)
    candidate = made.model_copy(update={"provenance": origin})
    probes = make_probes(training, n_rows=3, share=1.0, task=task, rng=Random(1))

    def rate(request: ChatRequest) -> str:
        samples = request.messages[-1].content.split("<sample number=")[1:]
        scores = [9 if "a zebra" in s else 1 for s in samples]
        return json.dumps(
            [{"sample": n, "reason": "because", "utility": s, "relevance": s} for n, s in enumerate(scores, 1)]
        )

    sources = {e.id: e for e in training}
    judge = ScriptedModel(rate)
    rating = rate_batch(
        [candidate], sources, strategy=None, draw="b/1", task=task, judge=PromptedModel(judge), probes=probes
    )
    assert len(judge.requests) == 1
    assert [r.example_id for r in rating.ratings] == [candidate.id] and rating.score == 9.0
    noted = read_probes(probes, rating, answered={}, quality=QualityConfig())
    assert [p.passed for p in noted] == [False] * len(probes)
    assert len(probes) == 3
