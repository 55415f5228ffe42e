"""The changes that C6-levers tries are settings that llama.cpp has."""

from operator import attrgetter

import pytest

from benchmarks.engine import EngineSettings, make_params
from benchmarks.measuring import BenchmarkError
from benchmarks.teacher import LLAMA_SERVER
from benchmarks.teacher_levers import LEVERS, describe, tell
from benchmarks.teacher_requests import Answer, Replay


@pytest.mark.parametrize("name", LEVERS)
def test_every_lever_is_taken(name: str) -> None:
    make_params("model.gguf", LEVERS[name].settings or EngineSettings(n_slots=8, params=LEVERS[name].params))


def test_a_setting_that_llama_cpp_does_not_have_is_refused() -> None:
    with pytest.raises(BenchmarkError, match="no setting n_microbatch"):
        make_params("model.gguf", EngineSettings(n_slots=8, params={"n_microbatch": 1}))


def test_llama_server_chooses_its_slots_itself_and_keeps_its_own_cache() -> None:
    params = make_params("model.gguf", LLAMA_SERVER)
    found = attrgetter("n_parallel", "n_ctx", "cache_ram_mib", "n_batch", "n_ubatch", "cpuparams.n_threads")(params)
    assert found[:5] == (-1, 0, 8192, 2048, 512) and found[5] >= 1


def test_answers_are_the_same_whatever_their_spaces() -> None:
    def answer(*texts: str) -> Replay:
        return Replay(seconds=6, answers=tuple(Answer(text, n_tokens=3, n_computed=10) for text in texts))

    measured = describe("x", answer('{"a":1}', "cut of", "one"), answer('{ "a": 1 }', "cut of", "two"))
    assert measured.per_minute == measured.baseline_per_minute == 30
    assert tell(measured) == "x (30 tokens computed, 9 written, 2 of 3 answers the same)"
