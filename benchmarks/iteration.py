"""C4: one whole iteration of the loop with a recorded run's LLM calls, in seconds.

Both arms run the real graph, worker and kernels on the demo's rows, starting from the same first fine-tuning:
- ours: up to 32 LLM calls at once, as with a hosted model.
- in sequence: one LLM call at a time, everything else the same.

The recorded calls come from a CPU engine that eight callers shared. Their latencies are scaled to a mean of 6.5 seconds, which
corresponds to 230 calls in 25 minutes (an iteration of the paper's size, one call after the other, with a 70B model).
"""

import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.sqlite import SqliteSaver

from benchmarks.measuring import BenchmarkError, Options, Outcome, compare
from benchmarks.recording import Choose, ReplayingModel, read
from pada_agent.app import wiring
from pada_agent.app.adapters.llm.response_cache import ResponseCache
from pada_agent.core.config import RunConfig
from pada_agent.core.config_files import load_config
from pada_agent.core.lines import split_lines
from pada_agent.graph.adapters import Adapters, Connect
from pada_agent.graph.builder import build_graph
from pada_agent.prompts.prompted_model import PromptedModel

RECORDING = Path(__file__).with_name("recordings") / "demo.jsonl"
CONFIG = Path(__file__).parents[1] / "configs" / "demo.yaml"
MEAN_SECONDS = 6.5
AT_ONCE = 32
PAID = "paid.txt"
START = "start"
THREAD: RunnableConfig = {"configurable": {"thread_id": "run"}, "recursion_limit": 1000}

Wrap = Callable[[Adapters], Adapters]


@dataclass(frozen=True)
class Finished:
    """The result of a run of the graph."""

    result: str
    """Calls, accepted rows and accuracies, which are the same for equal runs."""
    graph_seconds: float
    """Time in the graph, without opening and closing its adapters."""
    started: float
    """When the graph began, in Unix seconds."""


def run(options: Options) -> Outcome:
    """Run each arm once. Both have to end with the same rows and the same models.

    Raises:
        BenchmarkError: the arms differ.
    """
    with TemporaryDirectory() as folder:
        prepare(Path(folder), options)
        results, seconds = {}, {}
        for name, n_at_once in (("ours", AT_ONCE), ("in sequence", 1)):
            config = make_config(Path(folder), name.replace(" ", "-"), options)
            start = time.perf_counter()
            results[name] = run_iteration(config, pace=choose_pace(options), n_at_once=n_at_once).result
            seconds[name] = time.perf_counter() - start
            print(f"  {name}: {seconds[name]:.1f} s", flush=True)
    if results["ours"] != results["in sequence"]:
        raise BenchmarkError(f"the arms end differently: {results}")
    row = compare(
        "one iteration",
        [seconds["ours"]],
        [seconds["in sequence"]],
        peer_name="in sequence",
        unit="s",
        target=3.0,
        less_is_better=True,
    )
    return Outcome(parity=f"both arms: {results['ours']}", rows=[row])


def choose_pace(options: Options) -> float:
    """Factor by which recorded latencies are scaled."""
    calls = read(RECORDING)
    mean = sum(call.seconds for call in calls) / len(calls)
    return (0.05 if options.quick else MEAN_SECONDS) / mean


def make_config(folder: Path, name: str, options: Options, **changes: Any) -> RunConfig:
    """The demo's settings with fewer rows and epochs, and with rows written as in the recording."""
    n_train, n_validation = (16, 10) if options.quick else (80, 60)
    overrides = {
        "name": name,
        "runs_folder": str(folder),
        "student.model": options.student,
        "data.test": "''",
        "data.train_limit": n_train,
        "data.validation_limit": n_validation,
        "lora.epochs": 1,
        "lora.n_steps": "null",
        "generation.rows_per_call": 5,
        "generation.spare_rows": 0,
        "generation.n_shown_labels": 0,
        "generation.strategy_text": "by_label",
        "generation.max_top_ups": 8,
        "quality.enabled": True,
        "quality.rows_per_call": 1,
        "quality.max_label_rank": "null",
        "verification.votes": 0,
        **{f"models.{role}.max_concurrency": AT_ONCE for role in ("analyst", "generator", "judge")},
        **changes,
    }
    return load_config(CONFIG, [f"{key}={value}" for key, value in overrides.items()])


def prepare(folder: Path, options: Options) -> None:
    """Run what an iteration starts from, the first fine-tuning and its evaluations, in `folder/start`.

    The embedder is used once, so that the first arm does not pay for its imports.
    """
    start = make_config(folder, START, options, **{"loop.max_iterations": 0})
    wiring.connect(start).embedder.embed(["warm"])
    run_iteration(start, pace=0.0, n_at_once=1)


def run_iteration(
    config: RunConfig,
    *,
    pace: float,
    n_at_once: int,
    wrap: Wrap = lambda adapters: adapters,
    choose: Choose | None = None,
    start_from: str = START,
) -> Finished:
    """Run the graph to its end, or continue from its checkpoint. Jobs of the run `start_from` count as done."""
    folder = Path(config.runs_folder) / config.name
    finished = folder.with_name(start_from) / "objects"
    if finished.is_dir() and not folder.exists():
        shutil.copytree(finished, folder / "objects")
    folder.mkdir(parents=True, exist_ok=True)
    with (
        replaying(config, pace, n_at_once, wrap, choose) as connect,
        SqliteSaver.from_conn_string(str(folder / "checkpoints.sqlite")) as saver,
    ):
        graph = build_graph(connect).compile(checkpointer=saver)
        first = graph.get_state(THREAD).created_at is None
        start, started = time.perf_counter(), time.time()
        graph.invoke({} if first else None, THREAD, context=config, durability="sync")
        seconds = time.perf_counter() - start
        state = graph.get_state(THREAD).values
    accuracies = [f"{m.name} {m.validation.accuracy:.3f}" for m in state["models"].values() if m.validation]
    n_accepted = state["new_rows"].rows if "new_rows" in state else 0
    n_calls = len(set(read_paid(folder)))
    result = f"{n_calls} LLM calls, {n_accepted} rows accepted, {', '.join(accuracies)}"
    return Finished(result=result, graph_seconds=seconds, started=started)


def read_paid(folder: Path) -> list[str]:
    """The keys of all calls that a run paid for."""
    path = folder / PAID
    return split_lines(path.read_text(encoding="utf-8")) if path.is_file() else []


@contextmanager
def replaying(config: RunConfig, pace: float, n_at_once: int, wrap: Wrap, choose: Choose | None) -> Iterator[Connect]:
    """The standard wiring with recorded calls in place of the LLMs. `read_paid` returns what was paid for."""
    folder = Path(config.runs_folder) / config.name
    cache = ResponseCache(folder / "llm_calls.sqlite")

    def note(key: str) -> None:
        with (folder / PAID).open("a", encoding="utf-8") as file:
            file.write(f"{key}\n")

    model = ReplayingModel(read(RECORDING), cache, pace=pace, n_at_once=n_at_once, on_call=note, choose=choose)
    teacher = PromptedModel(model, config.prompts.overrides())
    adapters = replace(wiring.connect(config), analyst=teacher, generator=teacher, judge=teacher)
    wrapped = wrap(adapters)
    try:
        yield lambda _: wrapped
    finally:
        wiring.close(config)


if __name__ == "__main__":
    run_iteration(load_config(Path(sys.argv[1])), pace=float(sys.argv[2]), n_at_once=1)
