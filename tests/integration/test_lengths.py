"""Rows that are too long for the student, in the real graph: found before the first job, or when they are verified."""

import json
from pathlib import Path

import pytest

from pada_agent.core.chat import ChatRequest
from pada_agent.core.errors import DatasetError
from pada_agent.core.jobs import PredictJob
from pada_agent.core.records import Rejection
from tests.fakes import ScriptedModel, WordCounter
from tests.integration.graph_runs import fine_tunings, run, training_rows
from tests.toy_world import TRAIN, VALIDATION, ToyWorld, teach

LONG = "tell me about " + " ".join(f"x{i}" for i in range(40))
WRITTEN = {
    "train": [{"id": f"t{i}", "question": f"spell {i} out", "answer": f"number {i} " * 5} for i in range(6)],
    "validation": [{"id": f"v{i}", "question": f"say {i} aloud", "answer": f"number {i} " * 40} for i in range(4)],
}


def write_one_long_row(*, ever_shorter: bool) -> ScriptedModel:
    """A teacher whose first row of each batch is too long, until it is told so."""

    def answer(request: ChatRequest) -> str:
        if "generation" not in str(request.tags["prompt"]):
            return teach(request)
        rows = json.loads(teach(request))
        if not (ever_shorter and "Write it shorter" in request.messages[-1].content):
            rows[0]["question"] += LONG
        return json.dumps(rows)

    return ScriptedModel(answer)


def test_a_row_of_the_users_own_that_is_too_long_is_told_before_the_first_job(tmp_path: Path) -> None:
    train = [*TRAIN, {"id": "long", "question": LONG, "answer": "tool"}]
    world = ToyWorld(tmp_path, memory={"train": train, "validation": VALIDATION, "test": []}, tokens=WordCounter(512))
    with pytest.raises(DatasetError, match=r"memory:train:10: too long to be trained on, with up to 45 tokens"):
        run(world, lora={"max_length": 30}, data={"test": ""})
    assert world.compute.ran == []


@pytest.mark.parametrize("ever_shorter", [False, True])
def test_a_synthetic_row_that_is_too_long_is_refused_with_the_reason_and_the_run_goes_on(
    tmp_path: Path, ever_shorter: bool
) -> None:
    teacher = write_one_long_row(ever_shorter=ever_shorter)
    world = ToyWorld(tmp_path, teacher=teacher, judge=ScriptedModel(teach), tokens=WordCounter(512))
    batches = world.read_reports(run(world, loop={"max_iterations": 1}, lora={"max_length": 30}))
    refused = [r for b in batches for r in world.store.read_rows(b.rejected.key, Rejection)]
    assert {r.stage for r in refused} == {"format"}
    assert all(r.reason.endswith("and 30 are the limit. Write it shorter") for r in refused)
    (_, tuned) = fine_tunings(world)
    assert all(len(row.prompt.split()) + 2 <= 30 for row in training_rows(tuned))
    full = [b for b in batches if b.n_accepted == b.n_requested]
    assert (len(full) == len(batches)) == ever_shorter


def test_answers_get_the_room_that_the_right_ones_need(tmp_path: Path) -> None:
    world = ToyWorld(tmp_path, memory=WRITTEN, tokens=WordCounter(512))
    summary = run(world, task={"name": "exact_match", "labels": {}}, data={"test": ""}, loop={"max_iterations": 0})
    limits = {job.max_new_tokens for job in world.compute.ran if isinstance(job, PredictJob)}
    assert limits == {112}, "81 tokens, a quarter more, in steps of 16"
    assert not any("max_new_tokens" in warning for warning in summary.warnings)


def test_a_limit_in_settings_that_cuts_right_answers_is_told(tmp_path: Path) -> None:
    world = ToyWorld(tmp_path, memory=WRITTEN, tokens=WordCounter(512))
    summary = run(
        world,
        task={"name": "exact_match", "labels": {}},
        data={"test": ""},
        loop={"max_iterations": 0},
        student={"max_new_tokens": 50},
    )
    (warning,) = [w for w in summary.warnings if "max_new_tokens" in w]
    assert warning.startswith(
        "memory:validation:1, memory:validation:2, memory:validation:3, memory:validation:4: the right"
    )
    assert {job.max_new_tokens for job in world.compute.ran if isinstance(job, PredictJob)} == {50}


def test_where_nothing_can_be_measured_the_task_says_the_limit(tmp_path: Path) -> None:
    world = ToyWorld(tmp_path)
    run(world, loop={"max_iterations": 0})
    assert {job.max_new_tokens for job in world.compute.ran if isinstance(job, PredictJob)} == {16}
