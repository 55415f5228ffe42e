"""A run's folder after a crash of the machine, a full disk or a careless hand: every kind of file, damaged in every way.

Each command either does as if nothing had happened, or says in one error which file is damaged and what to do; and what it says works.
"""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from pada_agent.app import cli, wiring
from pada_agent.app.results import trackers
from pada_agent.core.jobs import TRAIN_METRICS, FineTuneJob, Job
from tests.command_line import read_summary
from tests.openai_server import CountingServer, Refusal, answer_in_form, serving
from tests.tiny_world import write_config
from tests.toy_command import save_toy_world
from tests.toy_world import NearestRowCompute, WordCountEmbedder

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "torn": lambda before: before[: len(before) // 2],
    "garbage": lambda _: bytes(range(256)) * 20,
    "of another kind": lambda _: b'{"a": {"b": [1]}}\n',
}
SOME_DAMAGES = ["torn", *(pytest.param(name, marks=pytest.mark.slow) for name in DAMAGES if name != "torn")]
ROUNDS = 2
"""Of following an error's advice, beside one for each damaged file."""


class MeteredCompute(NearestRowCompute):
    """Leaves what the worker leaves beside an adapter."""

    def _run(self, job: Job, folder: Path) -> None:
        super()._run(job, folder)
        if isinstance(job, FineTuneJob):
            metrics = {"n_steps": 3, "losses": [3.0, 2.0, 1.0], "seconds": 1.5, "tokens_per_second": 100.0}
            (folder / TRAIN_METRICS).write_text(json.dumps(metrics))


class Runs:
    """A finished run and one that stopped at the judge, to be damaged again and again at the one place that both know."""

    def __init__(self, folder: Path, server: CountingServer) -> None:
        self.folder, self.run, self.data, self.server = folder, folder / "r", folder / "data", server
        self._told: dict[tuple[str, ...], str] = {}

    def tell_whole(self, *command: str) -> str:
        """What a command prints for the finished run, undamaged."""
        if command not in self._told:
            self.lay_out("finished")
            result = invoke(*command)
            assert result.exit_code == 0, result.output
            self._told[command] = result.output
        return self._told[command]

    def lay_out(self, kind: str) -> Path:
        for left in (self.run, self.data):
            shutil.rmtree(left, ignore_errors=True)
        shutil.copytree(self.folder / kind, self.run, symlinks=True)
        return self.run

    def damage(self, kind: str, pattern: str, damage: str) -> list[Path]:
        """Every file of that name."""
        files = [path for path in self.lay_out(kind).glob(pattern) if path.is_file()]
        assert files, f"no {pattern} in a run that is {kind}"
        for path in files:
            path.write_bytes(DAMAGES[damage](path.read_bytes()))
        return files


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    folder = tmp_path_factory.mktemp("runs")
    is_down = [False]

    def answer(prompt: str) -> str:
        if is_down[0] and "You rate training examples" in prompt:
            raise Refusal(401)
        return answer_in_form(prompt)

    with pytest.MonkeyPatch.context() as patch, serving(delay_seconds=0, answer=answer) as server:
        patch.setattr(wiring, "open_compute", lambda _, folder: MeteredCompute(folder / "objects"))
        patch.setattr(wiring, "SentenceEmbedder", lambda _: WordCountEmbedder())
        patch.setattr(wiring, "StudentTokenCounter", lambda *_: None)
        patch.setenv("XDG_STATE_HOME", str(folder / "state"))
        config = write_config(save_toy_world(folder), folder, server.url)
        for kind, code in (("unfinished", 2), ("finished", 0)):
            is_down[0] = kind == "unfinished"
            told = invoke("run", config)
            assert told.exit_code == code, told.output
            (folder / "r").rename(folder / kind)
        is_down[0] = False
        yield Runs(folder, server)


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli.app, [str(a) for a in arguments])


def read_error(result: Result) -> str:
    """The one error that it ended with."""
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == 2
    return result.output.rpartition("Error: ")[2]


def name_figures(output: str) -> str:
    """A report's table without what differs between two equal runs."""
    return "\n".join(line for line in output.split("\n") if not line.startswith(("Time:", "  ")))


FINISHED = (
    *("config.yaml", "manifest.json", "summary.json", "events.jsonl", "llm_calls.sqlite", "checkpoints.sqlite", "reviews.jsonl"),
    *("iterations/1/synthetic.jsonl", "iterations/*/predictions/test.jsonl", "iterations/*/metrics.json"),
    *("best/train_metrics.json", "objects/measured-*/rows.jsonl", "objects/accepted-*/rows.jsonl", "objects/batches-*/rows.jsonl"),
)  # fmt: skip


@pytest.mark.parametrize("damage", SOME_DAMAGES)
@pytest.mark.parametrize("pattern", FINISHED)
def test_commands_on_a_finished_run(runs: Runs, monkeypatch: pytest.MonkeyPatch, pattern: str, damage: str) -> None:
    monkeypatch.setattr(trackers, "log_to_tensorboard", lambda run: str(len(run.figures)))
    commands: tuple[tuple[str, ...], ...] = (
        ("report", str(runs.run)),
        ("resume", str(runs.run)),
        ("track", str(runs.run), "--to", "tensorboard"),
        ("compare", str(runs.run), str(runs.folder / "finished")),
        ("export", str(runs.run), "--what", "data", "--out", str(runs.data)),
    )
    for command in commands:
        whole = runs.tell_whole(*command)
        damaged = runs.damage("finished", pattern, damage)
        result = invoke(*command)
        if result.exit_code == 0:
            assert name_figures(result.output) == name_figures(whole), command
        else:
            error = read_error(result)
            assert any(str(path) in error for path in damaged), error
            assert len(error.strip().split("\n")) <= 2 or "config.yaml" in error, error


UNFINISHED = (
    *("config.yaml", "manifest.json", "events.jsonl", "llm_calls.sqlite", "checkpoints.sqlite", "error.txt"),
    *("objects/rows-*/rows.jsonl", "objects/measured-*/rows.jsonl", "objects/verdicts-*/rows.jsonl"),
    *("objects/*-failures-*/rows.jsonl", "objects/predict-*/predictions.jsonl", "objects/fine_tune-*/train_metrics.json"),
    "objects/planned-*/rows.jsonl",
)  # fmt: skip


@pytest.mark.parametrize("damage", SOME_DAMAGES)
@pytest.mark.parametrize("pattern", UNFINISHED)
def test_an_unfinished_run_goes_on_to_the_same_end(runs: Runs, pattern: str, damage: str) -> None:
    damaged = runs.damage("unfinished", pattern, damage)
    for _ in range(len(damaged) + ROUNDS):
        result = invoke("resume", runs.run)
        if result.exit_code == 0:
            break
        follow(read_error(result), runs, damaged)
    assert result.exit_code == 0, result.output
    assert read_summary(runs.folder) == read_finished(runs)


def follow(error: str, runs: Runs, damaged: list[Path]) -> None:
    """What a person does who reads the error."""
    assert any(str(path) in error or str(path.parent) in error for path in damaged), error
    if found := re.search(r"[Dd]elete the folder (/\S+?)[.,]?\s", error):
        shutil.rmtree(found[1])
        if "delete the run's checkpoints.sqlite" in error:
            (runs.run / "checkpoints.sqlite").unlink()
    elif "Restore the settings" in error:
        shutil.copy(runs.folder / "unfinished" / "config.yaml", runs.run)
    else:
        named = next(path for path in damaged if str(path) in error)
        assert re.search(r"[Dd]elete it|[Mm]ove it away", error), error
        named.unlink()


def read_finished(runs: Runs) -> dict[str, Any]:
    shutil.rmtree(runs.run)
    runs.lay_out("finished")
    return read_summary(runs.folder)
