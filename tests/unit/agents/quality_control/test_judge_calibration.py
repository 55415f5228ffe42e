"""Rows of known quality: how they are made, mixed in, and counted."""

import json
from random import Random

import pytest

from pada_agent.agents.quality_control.judge_calibration import calibrate, make_probes, mix, note_probe
from pada_agent.agents.quality_control.rating import rate_batch, read_probes
from pada_agent.core.chat import ChatRequest
from pada_agent.core.config import TaskConfig
from pada_agent.core.ports import RawRow
from pada_agent.core.records import Batch, Example, JudgeProbe, Provenance, Rating
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


def test_probes_stand_among_the_rows_and_the_rows_keep_their_order() -> None:
    mixed = mix(list(range(10)), ["p", "q"], Random(3))
    assert [x for x in mixed if isinstance(x, int)] == list(range(10))
    assert len(mixed) == 12


def rating(score: int) -> Rating:
    return Rating(example_id="p", reason="because", adherence=1, utility=score, relevance=score)


def test_adherence_does_not_count_for_a_row_that_was_written_for_no_strategy() -> None:
    (probe,) = make_probes(TRAINING["closed"][1], n_rows=1, share=1.0, task=CLOSED, rng=Random(0))
    assert note_probe(probe, rating(8), threshold=7).passed is True
    assert note_probe(probe, rating(6), threshold=7).passed is False
    assert note_probe(probe, None, threshold=7).passed is None


def test_catches_false_alarms_and_what_was_missed_are_counted() -> None:
    found = calibrate(
        [
            JudgeProbe(kind="copy", passed=True),
            JudgeProbe(kind="swapped key", passed=False),
            JudgeProbe(kind="off format", passed=None),
            JudgeProbe(kind="good", passed=False),
            JudgeProbe(kind="good", passed=True),
        ]
    )
    assert (found.n_bad, found.n_caught, found.n_good, found.n_false_alarms, found.n_unrated) == (2, 1, 2, 1, 1)
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

    batch = Batch(id="b", branch="training_error", iteration=1, source_ids=("t0",))
    sources = {e.id: e for e in training}
    judge = ScriptedModel(rate)
    review = rate_batch(
        [candidate], sources, batch=batch, attempt=1, task=task, judge=PromptedModel(judge), probes=probes
    )
    assert len(judge.requests) == 1
    assert [r.example_id for r in review.ratings] == [candidate.id] and review.score == 9.0
    assert [p.passed for p in read_probes(probes, review, threshold=7)] == [False] * len(probes)
    assert len(probes) == 3
