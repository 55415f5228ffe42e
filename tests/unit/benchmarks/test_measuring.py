"""What all benchmarks share."""

import time
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.measuring import Options, compare, interleave
from benchmarks.overhead import Stopwatch
from benchmarks.recording import RecordedCall, ReplayingModel, read
from pada_agent.app.adapters.llm.response_cache import ResponseCache
from pada_agent.core.chat import ChatRequest, Message

RECORDING = Path(__file__).parents[3] / "benchmarks" / "recordings" / "demo.jsonl"

OPTIONS = Options(data=Path(), student="")


def test_a_ratio_above_one_means_that_ours_is_better_in_any_unit() -> None:
    speed = compare("x", [20.0, 30.0, 40.0], [10.0, 10.0, 10.0], peer_name="p", unit="tokens/s")
    assert (speed.ours, speed.ratio, speed.ratio_min, speed.ratio_max) == (30.0, 3.0, 2.0, 4.0)
    seconds = compare("x", [5.0], [10.0], peer_name="p", unit="s", less_is_better=True)
    assert seconds.ratio == 2.0


def test_every_repetition_starts_with_another_arm() -> None:
    order: list[str] = []

    def arm(name: str) -> float:
        order.append(name)
        return 1.0

    arms = {"a": lambda _: arm("a"), "b": lambda _: arm("b")}
    figures = interleave(arms, OPTIONS)
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert figures == {"a": [1.0] * 3, "b": [1.0] * 3}


def test_where_time_is_short_whole_repetitions_are_left_out() -> None:
    arms = {"a": lambda _: 1.0, "b": lambda _: 2.0}
    figures = interleave(arms, replace(OPTIONS, minutes=0.0))
    assert figures == {"a": [1.0], "b": [2.0]}
    assert compare("x", figures["a"], figures["b"], peer_name="p", unit="s").repetitions == 1


def ask(model: ReplayingModel, draw: str) -> str:
    request = ChatRequest(
        messages=(Message(role="user", content="write"),),
        draw=draw,
        tags={"prompt": "pattern_guided_generation", "batch": "b1"},
    )
    return model.complete(request).text


def test_a_replayed_call_gives_its_batch_s_answer_and_is_paid_for_once(tmp_path: Path) -> None:
    calls = [
        RecordedCall(prompt="pattern_guided_generation", batch=batch, seconds=0.02, output_tokens=1, text=f"of {batch}")
        for batch in ("b0", "b1", "b2")
    ]
    paid: list[str] = []
    cache = ResponseCache(tmp_path / "llm_calls.sqlite")
    model = ReplayingModel(calls, cache, pace=1.0, n_at_once=2, on_call=paid.append)
    start = time.perf_counter()
    assert [ask(model, "1"), ask(model, "1"), ask(model, "2")] == ["of b1"] * 3
    assert time.perf_counter() - start >= 0.04
    assert len(paid) == len(set(paid)) == 2


def test_the_shipped_recording_covers_every_prompt_of_an_iteration() -> None:
    prompts = {call.prompt for call in read(RECORDING)}
    assert prompts == {
        "error_analysis",
        "pattern_categorization",
        "strategy_drafting",
        "pattern_guided_generation",
        "training_error_generation",
        "quality_control",
    }


def test_busy_time_counts_overlaps_once() -> None:
    stopwatch = Stopwatch(spans=[(0.0, 2.0), (1.0, 3.0), (1.5, 1.7), (5.0, 6.0)])
    assert stopwatch.busy_seconds() == 4.0


def test_a_watched_port_works_as_before_and_is_timed_when_it_fails_too() -> None:
    stopwatch = Stopwatch()
    assert stopwatch.watch("a-b").split("-") == ["a", "b"]
    with pytest.raises(ValueError, match="not found"):
        stopwatch.watch("a").index("z")
    assert len(stopwatch.spans) == 2
