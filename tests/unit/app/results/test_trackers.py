"""The trackers' own libraries are optional: what they are told is tested always, the telling where they are installed."""

import json
import posixpath
import re
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from pada_agent.app.results import trackers
from pada_agent.app.results.trackers import Tracker, track_run
from pada_agent.app.run_folder.layout import dump_config
from pada_agent.core.config import RunConfig
from pada_agent.core.errors import ArtifactError, ConfigError
from tests.unit.app.summaries import make_summary

LOSSES = [2.5, 1.25]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A finished run with two adapters, one of which noted its losses."""
    summary = make_summary()
    (tmp_path / "config.yaml").write_text(dump_config(RunConfig()))
    (tmp_path / "summary.json").write_text(summary.model_dump_json())
    (tmp_path / "report.html").write_text("<!doctype html>")
    adapter = tmp_path / str(summary.models[-1].adapter)
    adapter.mkdir(parents=True)
    (adapter / "train_metrics.json").write_text(json.dumps({"losses": LOSSES}))
    return tmp_path


def test_figures_stand_by_model_and_for_the_whole_run() -> None:
    figures = {(f.name, f.step): f.value for f in trackers.collect_figures(make_summary())}
    assert [figures["validation/accuracy", step] for step in range(3)] == [0.2, 0.5, 0.6]
    assert ("test/accuracy", 0) not in figures and figures["test/accuracy", 2] == 0.6
    assert figures["gain/test_accuracy", 0] == 0.1
    chosen = tuple(c.model_copy(update={"split": "selection"}) for c in make_summary().comparisons)
    names = {f.name for f in trackers.collect_figures(make_summary(comparisons=chosen))}
    assert "gain/selection_accuracy" in names and "gain/test_accuracy" not in names
    assert figures["rows/rejected_label", 0] == 5
    assert figures["llm/generator_tokens", 0] == 15_400
    assert figures["seconds/fine_tune", 0] == 3_725


def test_a_guard_may_call_its_stage_what_it_likes() -> None:
    """MLflow refuses the whole run otherwise, after half of it was logged."""
    rows = make_summary().rows.model_copy(update={"rejected": {"e-mail @ work (2)": 3, "not needed": 1}})
    found = {f.name: f.value for f in trackers.collect_figures(make_summary(rows=rows))}
    assert (found["rows/rejected_e-mail___work__2_"], found["rows/rejected_not_needed"]) == (3, 1)


def test_the_cost_of_a_role_without_a_price_is_left_out() -> None:
    names = {figure.name for figure in trackers.collect_figures(make_summary(), ["judge"])}
    assert "llm/judge_usd" not in names
    assert {"llm/judge_calls", "llm/generator_usd"} <= names


def test_losses_are_counted_by_optimizer_step(folder: Path) -> None:
    found = [(f.name, f.step, f.value, f.axis) for f in trackers.read_losses(make_summary(), folder)]
    assert found == [("loss/iteration 1", n, loss, "optimizer_step") for n, loss in enumerate(LOSSES, 1)]


@pytest.mark.parametrize("to", ["mlflow", "wandb", "tensorboard"])
def test_a_tracker_that_is_not_installed_is_named_with_its_extra(
    folder: Path, to: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = {"tensorboard": "torch.utils.tensorboard"}.get(to, to)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=rf"pip install 'pada-agent\[{to}\]'"):
        track_run(folder, to=to)


def test_a_folder_of_the_trackers_name_is_not_the_library(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(__file__=None))
    with pytest.raises(ConfigError, match="a folder, not the library"):
        track_run(folder, to="wandb")


def test_an_unfinished_run_is_not_tracked(folder: Path) -> None:
    (folder / "summary.json").unlink()
    with pytest.raises(ArtifactError, match="not finished"):
        track_run(folder, to="tensorboard")


class StrictMlflow:
    """The part of mlflow that is used, with its rule for names."""

    __file__ = "mlflow.py"
    exceptions = SimpleNamespace(MlflowException=RuntimeError)

    def __init__(self) -> None:
        self.params: dict[str, str] = {}
        self.metrics: set[str] = set()

    def start_run(self, **_: object) -> AbstractContextManager[SimpleNamespace]:
        return nullcontext(SimpleNamespace(info=SimpleNamespace(run_id="r1")))

    def log_param(self, key: str, value: str) -> None:
        self.params[self._check(key)] = value

    def log_metric(self, key: str, value: float, step: int) -> None:
        del value, step
        self.metrics.add(self._check(key))

    def log_artifact(self, path: str) -> None: ...

    def get_tracking_uri(self) -> str:
        return "here"

    def _check(self, name: str) -> str:
        if not re.fullmatch(r"[/\w.\- :]{1,250}", name) or posixpath.normpath(name) != name:
            raise RuntimeError(f"Invalid name: {name}")
        return name


def test_labels_and_columns_are_values_and_not_names(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = {
        "Lost & found": "things, mislaid",
        "it's late?": "",
        "refund (partial)": "",
        "a/": "",
        "b/.": "",
        "c" * 300: "",
    }
    task = {"labels": labels, "label_values": {"0": "a/"}, "columns": {"question": "text", "answer": ("x", "y")}}
    config = RunConfig.model_validate({"task": task, "student": {"template_arguments": {"let's think": True}}})
    (folder / "config.yaml").write_text(dump_config(config))
    mlflow = StrictMlflow()
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    assert track_run(folder, to="mlflow") == "mlflow: run r1 at here"
    assert mlflow.params["task.labels"].startswith('{"Lost & found": "things, mislaid", "it\'s late?": ""')
    assert json.loads(mlflow.params["task.columns"]) == {"question": "text", "answer": ["x", "y"]}
    assert json.loads(mlflow.params["student.template_arguments"]) == {"let's think": True}
    assert mlflow.params["lora.rank"] == "32" and "loss/iteration 1" in mlflow.metrics


class StrictWriter:
    """Keeps what TensorBoard would show as Markdown."""

    def __init__(self, log_dir: str) -> None:
        del log_dir
        self.texts: dict[str, str] = {}
        writers.append(self)

    def __enter__(self) -> "StrictWriter":
        return self

    def __exit__(self, *_: object) -> None: ...

    def add_text(self, name: str, text: str) -> None:
        self.texts[name] = text

    def add_scalar(self, name: str, value: float, step: int) -> None: ...


writers: list[StrictWriter] = []


def test_tensorboard_shows_settings_as_they_are(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Markdown shows indented lines as they are, and would format the second line of a text."""
    config = RunConfig.model_validate({"task": {"description": "first\n\n# second <b>line</b>"}})
    (folder / "config.yaml").write_text(dump_config(config))
    loaded = SimpleNamespace(__file__="tensorboard.py", SummaryWriter=StrictWriter)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", loaded)
    folder = folder.rename(folder.with_name("my run"))
    assert track_run(folder, to="tensorboard") == f"tensorboard --logdir '{folder / 'tensorboard'}'"
    lines = writers.pop().texts["settings"].split("\n")
    assert "    # second <b>line</b>" in lines and all(line.startswith("    ") for line in lines)


@pytest.mark.filterwarnings("ignore")
def test_tensorboard_reads_what_was_logged(folder: Path) -> None:
    accumulating = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    told = track_run(folder, to="tensorboard")
    read = accumulating.EventAccumulator(str(folder / "tensorboard"))
    read.Reload()
    assert told == f"tensorboard --logdir {folder / 'tensorboard'}"
    assert [round(e.value, 6) for e in read.Scalars("validation/accuracy")] == [0.2, 0.5, 0.6]
    assert [(e.step, e.value) for e in read.Scalars("loss/iteration 1")] == list(enumerate(LOSSES, 1))


@pytest.mark.filterwarnings("ignore")
def test_mlflow_reads_what_was_logged(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'mlflow.db'}")
    run_id = track_run(folder, to="mlflow").split()[2]
    client = mlflow.MlflowClient()
    run = client.get_run(run_id)
    assert run.data.params["lora.rank"] == "32"
    assert run.data.metrics["gain/test_accuracy"] == 0.1
    assert [m.value for m in client.get_metric_history(run_id, "loss/iteration 1")] == LOSSES
    assert {f.path for f in client.list_artifacts(run_id)} == {"report.html", "summary.json", "config.yaml"}


@pytest.mark.enable_socket
@pytest.mark.filterwarnings("ignore")
def test_wandb_writes_an_offline_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(folder))
    monkeypatch.setenv("WANDB_SILENT", "true")
    track_run(folder, to="wandb")
    (log,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    written = log.read_bytes()
    assert b"validation/accuracy" in written and b"loss/iteration 1" in written and b"lora.rank" in written
