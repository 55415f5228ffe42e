"""Rates read from the folders of runs."""

import json
from pathlib import Path
from typing import Any

import pytest

from pada_agent.app.adapters.llm.response_cache import ResponseCache
from pada_agent.app.estimates.rates import Rates, assume_rates, describe_rates
from pada_agent.app.estimates.recorded import measure_rates
from pada_agent.app.run_folder import layout
from pada_agent.core.chat import ChatReply, ChatRequest, Message, Role
from pada_agent.core.config_files import parse_config
from pada_agent.core.errors import ConfigError
from pada_agent.core.records import Usage
from tests.unit.app.claims import claim
from tests.unit.app.summaries import make_summary

ASSUMED = assume_rates(row_tokens=100, is_choice=True, max_new_tokens=None, tokens_per_second=None, call_seconds=None)


def make_run(tmp_path: Path, name: str = "r", **more: Any) -> Path:
    values = {"name": name, "runs_folder": str(tmp_path), "lora": {"batch_size": 4}, **more}
    config = parse_config(values, origin="test")
    return claim(config).folder


def add_fine_tuning(folder: Path, name: str, **metrics: Any) -> None:
    path = folder / "objects" / f"fine_tune-{name}" / "train_metrics.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(metrics))


def add_events(folder: Path, *events: dict[str, Any]) -> None:
    time = "2026-01-01T00:00:00+00:00"
    lines = [json.dumps({"time": time, "mode": "custom", "data": event}) + "\n" for event in events]
    (folder / layout.EVENTS).write_text("".join([*lines, '{"time": "2026-']))


def add_call(folder: Path, role: Role, seconds: float, *, n_hits: int = 0) -> None:
    cache = ResponseCache(folder / layout.CALLS)
    reply = ChatReply(text="x", usage=Usage(n_calls=1), key=f"{role}{seconds}")
    request = ChatRequest(messages=(Message(role="user", content="x"),), tags={})
    cache.put(reply, request, model="m", role=role, started=0.0, seconds=seconds)
    for _ in range(n_hits):
        cache.get(reply.key, role=role)


def progress(stage: str, done: int, total: int, **more: Any) -> dict[str, Any]:
    return {"stage": stage, "done": done, "total": total, **more}


def test_seconds_of_jobs_and_calls(tmp_path: Path) -> None:
    folder = make_run(tmp_path)
    for name, seconds in (("a", 8.0), ("b", 16.0), ("c", 80.0)):
        add_fine_tuning(folder, name, n_steps=2, seconds=seconds, tokens_per_second=1)
    add_events(
        folder,
        progress("load", 0, 1, detail="fine-tuned: m"),
        progress("load", 1, 1, detail="fine-tuned: m, loaded in 4.2 s"),
        progress("predict", 10, 20, rate=1.0),
        progress("predict", 20, 20, rate=2.0),
        progress("predict", 60, 60, rate=10.0),
        progress("predict", 60, 60, rate=5.0),
    )
    for seconds in (1.0, 3.0):
        add_call(folder, "generator", seconds)
    rates = measure_rates(folder, ASSUMED)
    assert rates.train_row_seconds == 2.0, "the median, for four rows a step"
    assert rates.predict_row_seconds == 0.2
    assert rates.load_seconds == 4.2
    assert rates.call_seconds == {"analyst": 6.0, "generator": 2.0, "judge": 6.0}
    assert rates.attempts == ASSUMED.attempts
    assert rates.source == (
        f"measured in {folder} (3 fine-tunings, 3 evaluations); assumed: how often rows are written, the start of a run, the driver's"
        " work in an iteration, calls of the analyst, calls of the judge"
    )


def test_a_fine_tuning_on_several_gpus_took_each_of_them(tmp_path: Path) -> None:
    folder = make_run(tmp_path, compute={"processes": 2})
    add_fine_tuning(folder, "a", n_steps=2, seconds=8.0)
    assert measure_rates(folder, ASSUMED).train_row_seconds == 2.0, "two GPUs took 8 s for eight rows"


def test_how_often_rows_are_written_and_what_the_driver_does_in_a_finished_run(tmp_path: Path) -> None:
    """One iteration, 60 rows of 120, in 12 calls at least."""
    folder = make_run(tmp_path)
    add_call(folder, "generator", 1.0, n_hits=17)
    stages = {"leak_guard": 3.0, "augment": 0.5, "fine_tune": 99.0, "error_analysis": 99.0}
    summary = make_summary(seconds_by_stage=stages)
    (folder / layout.SUMMARY).write_text(summary.model_dump_json())
    rates = measure_rates(folder, ASSUMED)
    assert (rates.attempts, rates.iteration_seconds) == (18 / 12, 3.5)


def test_the_start_of_a_run_is_from_its_claim_to_its_first_step(tmp_path: Path) -> None:
    folder = make_run(tmp_path)
    manifest = json.loads((folder / layout.MANIFEST).read_text()) | {"started_at": "2026-01-01T00:00:00+00:00"}
    (folder / layout.MANIFEST).write_text(json.dumps(manifest))
    event = {"time": "2026-01-01T00:00:07.500+00:00", "mode": "updates", "data": {"prepare": {}}}
    (folder / layout.EVENTS).write_text(json.dumps(event) + "\n")
    assert measure_rates(folder, ASSUMED).start_seconds == 7.5


def test_an_experiment_is_measured_once_although_its_runs_share_their_objects(tmp_path: Path) -> None:
    first, second = make_run(tmp_path, "a"), make_run(tmp_path, "b")
    add_fine_tuning(first, "x", n_steps=1, seconds=4.0)
    (second / "objects").symlink_to(first / "objects")
    assert "(1 fine-tunings, 0 evaluations)" in measure_rates(tmp_path, ASSUMED).source


def test_a_folder_without_runs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--from .*: no run is there\. Name the folder of a run"):
        measure_rates(tmp_path, ASSUMED)


def test_assumed_rates_follow_what_is_given() -> None:
    def assume(**changes: Any) -> Rates:
        values = {"row_tokens": 100, "is_choice": True, "max_new_tokens": None}
        return assume_rates(**{**values, "tokens_per_second": 1000, "call_seconds": 0, **changes})

    assert assume().train_row_seconds == 0.1
    assert assume().predict_row_seconds == pytest.approx(0.1 / 3)
    assert assume(is_choice=False).predict_row_seconds == pytest.approx(0.1 / 3 + 32 / 500)
    assert assume(is_choice=False, max_new_tokens=5).predict_row_seconds == pytest.approx(0.1 / 3 + 5 / 500)
    assert set(assume().call_seconds.values()) == {0}
    assert "assumed, with 1,000 tokens trained per second (as given)" in describe_rates(assume())
    assert "24,000 tokens trained per second (a 1B student on an H100; a CPU is far slower: " in describe_rates(
        assume(tokens_per_second=None)
    )
