"""C5: the overhead of orchestration in one iteration, of `pada --help`, and of a kill.

- Orchestration: wall time of the graph minus the time in which at least one port is busy (LLM calls, the worker, the
  embedder, the store), as a fraction of the wall time. It consists of LangGraph, checkpoints, and the agents' own work. The
  iteration is that of C4, with replayed LLM calls. Peer: the limit of 1%.
- `pada --help`: seconds, the fastest of five. Peer: the limit of one second.
- A kill: a run with one LLM call at a time is killed (SIGKILL) in the middle of synthesis and resumed; calls paid twice.
  Peer: the limit of one.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.iteration import AT_ONCE, choose_pace, make_config, prepare, read_paid, run_iteration
from benchmarks.measuring import BenchmarkError, Comparison, Options, Outcome, compare
from pada_agent.app.run_folder.layout import dump_config
from pada_agent.core.config import RunConfig
from pada_agent.graph.adapters import Adapters
from pada_agent.prompts.prompted_model import PromptedModel

LIMIT_PERCENT = 1.0
LIMIT_SECONDS = 1.0
LIMIT_CALLS = 1
KILL_AFTER_CALLS = 12
KILL_PACE = 0.003
"""About a third of a second per call."""

Span = tuple[float, float]


def run(options: Options) -> Outcome:
    """All three.

    Raises:
        BenchmarkError: the killed run ends differently from an undisturbed one.
    """
    with TemporaryDirectory() as folder:
        prepare(Path(folder), options)
        overhead, straight = measure_orchestration(Path(folder), options)
        n_twice, resumed = kill_and_resume(make_config(Path(folder), "cut", options))
    if resumed != straight:
        raise BenchmarkError(f"killed and resumed: {resumed}; undisturbed: {straight}")
    return Outcome(
        parity=f"killed and resumed, the same as undisturbed: {straight}",
        rows=[overhead, measure_help(), against_limit("calls paid twice after a kill", n_twice, LIMIT_CALLS, "calls")],
    )


def against_limit(what: str, value: float, limit: float, unit: str) -> Comparison:
    """A figure that has to stay below a limit. 0 counts as a thousandth of the limit."""
    return compare(
        what,
        [max(value, limit / 1000)],
        [limit],
        peer_name="limit",
        unit=unit,
        less_is_better=True,
        target=1.0,
    )


@dataclass
class Stopwatch:
    """When ports were busy, from any thread."""

    spans: list[Span] = field(default_factory=list)

    def watch(self, target: Any) -> Any:
        return _Watched(target, self.spans)

    def busy_seconds(self) -> float:
        """Time in which at least one was."""
        total, reached = 0.0, 0.0
        for start, end in sorted(self.spans):
            total += max(0.0, end - max(start, reached))
            reached = max(reached, end)
        return total


class _Watched:
    """A port whose calls are timed."""

    def __init__(self, target: Any, spans: list[Span]) -> None:
        self._target = target
        self._spans = spans

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._target, name)
        return self._timed(value) if callable(value) else value

    def _timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **keywords: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*args, **keywords)
            finally:
                self._spans.append((start, time.perf_counter()))

        return call


def measure_orchestration(folder: Path, options: Options) -> tuple[Comparison, str]:
    """Percent of the wall time, and the iteration's result."""
    stopwatch = Stopwatch()

    def wrap(adapters: Adapters) -> Adapters:
        teacher = PromptedModel(stopwatch.watch(adapters.generator.model), adapters.generator.overrides)
        ports = {
            name: stopwatch.watch(getattr(adapters, name)) for name in ("store", "compute", "embedder", "datasets")
        }
        return replace(adapters, **ports, analyst=teacher, generator=teacher, judge=teacher)

    config = make_config(folder, "whole", options)
    done = run_iteration(config, pace=choose_pace(options), n_at_once=AT_ONCE, wrap=wrap)
    rest = done.graph_seconds - stopwatch.busy_seconds()
    print(f"  iteration {done.graph_seconds:.1f} s, of which {rest:.2f} s in no port", flush=True)
    percent = 100 * rest / done.graph_seconds
    return against_limit("orchestration", percent, LIMIT_PERCENT, "% of wall time"), done.result


def measure_help() -> Comparison:
    seconds = [_time_process([sys.executable, "-m", "pada_agent.app.cli", "--help"]) for _ in range(5)]
    return against_limit("pada --help", min(seconds), LIMIT_SECONDS, "s")


def _time_process(command: Sequence[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def kill_and_resume(config: RunConfig) -> tuple[int, str]:
    """Number of calls that were paid for twice, and the run's result."""
    folder = Path(config.runs_folder) / config.name
    settings = folder.with_name("cut.yaml")
    settings.write_text(dump_config(config), encoding="utf-8")
    command = [sys.executable, "-m", "benchmarks.iteration", str(settings), str(KILL_PACE)]
    process = subprocess.Popen(command)
    try:
        while process.poll() is None and len(read_paid(folder)) < KILL_AFTER_CALLS:
            time.sleep(0.02)
        if process.poll() is not None:
            raise BenchmarkError(f"the run ended after {len(read_paid(folder))} calls, before it could be killed")
    finally:
        process.kill()
        process.wait()
    result = run_iteration(config, pace=KILL_PACE, n_at_once=1).result
    keys = read_paid(folder)
    return len(keys) - len(set(keys)), result
