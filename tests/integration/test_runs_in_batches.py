"""The real graph with a teacher in batches: the same run as with ordinary calls, also when it is cut off between them."""

import time
from collections import Counter
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from pada_agent.app.adapters.llm.chat_models import make_language_model
from pada_agent.app.adapters.llm.limits import Budget, CallGate
from pada_agent.app.adapters.llm.response_cache import ResponseCache
from pada_agent.core.config import BudgetConfig
from pada_agent.core.errors import ModelUnavailableError
from pada_agent.core.model_config import ModelConfig
from pada_agent.graph.builder import build_graph
from tests.batch_server import BatchServer, serving_batches
from tests.toy_world import ToyWorld, make_settings

THREAD: Any = {"configurable": {"thread_id": "t"}, "max_concurrency": 64}
VOLATILE = {"seconds_by_stage"}


class BatchedWorld(ToyWorld):
    """A toy world whose teacher is asked over HTTP; made again on the same folder it goes on with what was paid for."""

    def __init__(self, folder: Path, server: BatchServer, **settings: Any) -> None:
        config = ModelConfig.model_validate(
            {"model": "openai:toy", "base_url": f"{server.address}/v1", "batch_poll_seconds": 0.02, **settings}
        )
        self.cache = ResponseCache(folder / "llm_calls.sqlite")
        budget = Budget(BudgetConfig(), self.cache.totals)
        gate = CallGate(config)
        self.chat = make_language_model(config, role="judge", cache=self.cache, budget=budget, gate=gate)
        super().__init__(folder, teacher=self.chat)


def close_at(world: BatchedWorld, server: BatchServer, n_batches: int) -> Thread:
    """Cut the run off when so many batches were sent, the last of them unfinished."""

    def wait() -> None:
        while len(server.batches) < n_batches:
            time.sleep(0.01)
        world.chat.close()

    thread = Thread(target=wait)
    thread.start()
    return thread


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_cut_off_while_it_waits_the_run_pays_nothing_twice_and_ends_the_same(tmp_path: Path) -> None:
    settings = make_settings(loop={"max_iterations": 1})
    with serving_batches(polls_needed=10) as server:
        straight = build_graph(BatchedWorld(tmp_path / "a", server).connect).compile()
        expected = straight.invoke({}, THREAD, context=settings)["summary"]
        n_calls = len(server.ordinary)
        saver, n_cuts = InMemorySaver(), 0
        for n_batches in (1, 3, 5, None):
            world = BatchedWorld(tmp_path / "b", server, economy="batch", batch_window_seconds=0.2)
            closer = close_at(world, server, n_batches) if n_batches else None
            graph = build_graph(world.connect).compile(checkpointer=saver)
            try:
                found = graph.invoke(None if n_cuts else {}, THREAD, context=settings)["summary"]
            except ModelUnavailableError as exc:
                assert "a resumed run waits for them" in str(exc)
                n_cuts += 1
            if closer:
                closer.join()
    assert n_cuts == 3
    keys = Counter(key for batch in server.batches.values() for key in batch.calls)
    assert (max(keys.values()), len(keys)) == (1, n_calls)
    assert len(server.ordinary) == n_calls, "all others were in batches"
    assert found.model_dump(exclude=VOLATILE) == expected.model_dump(exclude=VOLATILE)
