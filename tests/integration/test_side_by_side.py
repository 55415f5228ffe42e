"""An experiment whose runs go on at the same time: toy student and embedder; worker, cache, limits and the teacher's HTTP are real."""

import itertools
import os
import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Lock
from typing import Any, ClassVar

import pytest

from pada_agent.app import wiring
from pada_agent.app.adapters.compute.local_compute import LocalCompute
from pada_agent.app.experiment.grid import Part, load_grid
from pada_agent.app.experiment.results import ExperimentResult
from pada_agent.app.experiment.running import run_experiment
from pada_agent.app.experiment.side_by_side import raise_errors
from pada_agent.app.run_folder.events import RunEvent
from pada_agent.core.errors import PadaError, TrainingError
from tests.command_line import TOY, count_calls, start, wait_for
from tests.openai_server import answer_in_form, serving
from tests.tiny_world import write_grid
from tests.toy_command import WORKER, save_toy_world, use_toys

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

ARMS = ["vanilla", "vanilla_equal_steps", "pada", "pada_no_quality"]
RUNS = {f"toy-all-{arm}-s{seed}" for arm in ("vanilla", *ARMS[2:]) for seed in (0, 1)}
"""Arms with equal settings are one run."""
MAX_IN_FLIGHT = 1


class Endpoint:
    """A teacher that notes how many calls it has at once, and when each came."""

    def __init__(self) -> None:
        self.most = self._now = 0
        self.times: list[float] = []
        self._lock = Lock()

    def __call__(self, prompt: str) -> str:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
            self.times.append(time.monotonic())
        time.sleep(0.02)
        with self._lock:
            self._now -= 1
        return answer_in_form(prompt)


class CountingCompute(LocalCompute):
    """Notes the jobs that run."""

    ran: ClassVar[Counter[str]] = Counter()

    def _run(self, job_id: str, *arguments: Any) -> None:
        self.ran[job_id] += 1
        super()._run(job_id, *arguments)


def save_grid(folder: Path, url: str, **changes: Any) -> Path:
    folder.mkdir(exist_ok=True)
    limits = {f"models.{role}.max_concurrency": MAX_IN_FLIGHT for role in ("analyst", "generator", "judge")}
    values: dict[str, Any] = {"arms": ARMS, "set": {"lora.n_steps": 2, **limits}, **changes}
    return write_grid(save_toy_world(folder), folder, url, **values)


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """The jobs that ran."""
    for name in ("open_compute", "SentenceEmbedder", "StudentTokenCounter"):
        monkeypatch.setattr(wiring, name, getattr(wiring, name))
    use_toys()
    CountingCompute.ran = Counter()
    wiring.open_compute = lambda _, folder: CountingCompute(folder / "objects", folder / "worker.log", command=WORKER)
    yield CountingCompute.ran


def run(
    grid: Path, n_at_once: int, *, say: Callable[[str], None] = lambda _: None, events: list[RunEvent] | None = None
) -> ExperimentResult:
    return run_experiment(
        load_grid(grid),
        Part(),
        command="pada experiment",
        headroom_only=False,
        on_event=(events if events is not None else []).append,
        say=say,
        n_at_once=n_at_once,
    )


def read_table(result: ExperimentResult) -> Any:
    """Without who paid for what is shared, hours, and folders."""
    outcomes = [outcome.model_dump(exclude={"usage", "hours", "runs"}) for outcome in result.outcomes]
    return [outcomes, [pair.model_dump() for pair in result.pairs]]


def test_runs_side_by_side_give_the_table_of_the_sequence_and_share_all_work(
    tmp_path: Path, toys: Counter[str]
) -> None:
    endpoint, said, events = Endpoint(), list[str](), list[RunEvent]()
    with serving(delay_seconds=0, answer=endpoint) as server:
        expected = run(save_grid(tmp_path / "sequence", server.url), 1)
        jobs, asked = sorted(toys), server.asked.copy()
        toys.clear()
        server.asked.clear()
        endpoint.most = 0
        grid = save_grid(tmp_path / "beside", server.url)
        result = run(grid, 4, say=said.append, events=events)
        assert read_table(result) == read_table(expected)
        assert server.asked == asked, "nothing is paid for twice"
        assert endpoint.most == MAX_IN_FLIGHT, "the teacher's limits hold for all runs together"
        assert sorted(toys) == jobs and max(toys.values()) == 1, "a job that runs share is computed once"
        toys.clear()
        assert run(grid, 4) == result and not toys, "finished runs are skipped"
    assert {sum(o.usage.n_calls for o in r.outcomes) for r in (expected, result)} == {sum(asked.values())}
    assert {event.run for event in events} == RUNS
    n_turns = sum(before.run != after.run for before, after in itertools.pairwise(events))
    assert n_turns > 2 * len(RUNS), "they went on at the same time"
    assert "toy, all rows, pada, seed 1" in said
    assert '"run"' not in (tmp_path / "beside/runs/grid/toy-all-pada-s0/events.jsonl").read_text()


def test_one_run_that_fails_stops_no_other_and_is_told_at_the_end(tmp_path: Path, toys: Counter[str]) -> None:
    poor = {"name": "poor", "like": "auggpt", "set": {"budget.max_calls": 1}}
    said: list[str] = []
    with serving(delay_seconds=0) as server:
        grid = save_grid(tmp_path, server.url, arms=["vanilla", poor, "oracle"])
        with pytest.raises(PadaError) as caught:
            run(grid, 2, say=said.append)
        folder = tmp_path / "runs" / "grid"
        assert sorted(p.parent.name for p in folder.glob("*/summary.json")) == [
            f"toy-all-{arm}-s{seed}" for arm in ("oracle", "vanilla") for seed in (0, 1)
        ]
        assert "2 of 6 runs failed.\ntoy-all-poor-s0, toy-all-poor-s1: budget.max_calls is used up" in str(caught.value)
        assert caught.value.way_on == "Finished work is kept. To continue: pada experiment"
        assert sum("failed, the other runs continue: budget.max_calls" in text for text in said) == 2
        assert any("no headroom" in text for text in said)
        assert not (folder / "results.md").exists()
        grid.write_text(grid.read_text().replace("budget.max_calls: 1", "budget.max_calls: 100"))
        toys.clear()
        assert [o.arm for o in run(grid, 2).outcomes] == ["vanilla", "oracle", "poor"]
    assert not [job for job in toys if job.startswith("tokenizer")], "what was finished is kept"


def test_a_bug_is_raised_as_it_is_and_equal_words_are_said_once() -> None:
    errors: dict[str, BaseException] = {f"r{n}": TrainingError("no memory") for n in range(5)}
    with pytest.raises(PadaError, match=r"^5 of 9 runs failed\.\nr0, r1, r2 and 2 more: no memory$"):
        raise_errors(errors, 9)
    with pytest.raises(ZeroDivisionError):
        raise_errors({**errors, "bug": ZeroDivisionError()}, 9)
    raise_errors({}, 9)


def test_after_a_signal_no_run_begins_and_the_same_command_goes_on(
    tmp_path: Path, toys: Counter[str], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, before = tmp_path / "runs" / "grid", signal.getsignal(signal.SIGINT)
    with serving(delay_seconds=0.3, answer=Interrupting(3)) as server:
        grid = save_grid(tmp_path, server.url, arms=["auggpt", "pada", "pada_no_quality"], seeds=[0])
        with pytest.raises(KeyboardInterrupt, match=r"^continue with: pada experiment$"):
            run(grid, 2, say=(said := list[str]()).append)
        assert "in flight may finish" in capsys.readouterr().err
        assert not (folder / "toy-all-pada_no_quality-s0").exists(), "three runs, two at once"
        assert not [text for text in said if "failed" in text] and not list(folder.glob("*/error.txt"))
        assert not list(folder.glob("*/summary.json"))
        assert signal.getsignal(signal.SIGINT) is before
        server.delay_seconds = 0
        assert len(run(grid, 2).outcomes) == 3
        n_paid = count_calls(folder / "shared" / "llm_calls.sqlite")
        assert n_paid == sum(server.asked.values()), "answers that were under way are kept"
    assert max(toys.values()) == 1, "and so are jobs"


class Interrupting:
    """A teacher at whose n-th answer the user presses Ctrl-C."""

    def __init__(self, n: int) -> None:
        self._countdown = itertools.count(n, -1)

    def __call__(self, prompt: str) -> str:
        if next(self._countdown) == 1:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)  # the signal is heard while this answer is under way
        return answer_in_form(prompt)


def test_a_second_signal_does_not_wait(tmp_path: Path) -> None:
    with serving(delay_seconds=60) as server:
        grid = save_grid(tmp_path, server.url, arms=["vanilla", "pada"])
        process = start("experiment", str(grid), "--parallel", "2", "--arms", "pada", module=TOY)
        wait_for(lambda: len(server.asked) >= 1, process)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        assert process.poll() is None, "calls under way are waited for"
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=10)
    assert process.returncode == 130, output
    assert "answers are lost" in output
    assert f"continue with: pada experiment {grid} --arms pada --parallel 2" in output
    assert re.search(r"^\[toy-all-pada-s0 \w+\] ", output, re.MULTILINE), "lines name their run"
