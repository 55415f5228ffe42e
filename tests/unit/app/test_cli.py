import os
import resource
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from pada_agent.app.adapters.storage import model_store
from pada_agent.app.cli import app
from pada_agent.app.runs import driver
from pada_agent.app.runs.driver import Question, RunOutcome
from pada_agent.core.config import RunConfig
from pada_agent.core.machine import WAITING
from tests.unit.app.summaries import make_summary

HEAVY = ("torch", "langgraph", "langchain_core", "transformers", "sentence_transformers", "sklearn", "scipy")
QUESTION = Question(id="q", payload={"review": "strategies", "strategies": []})


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text("name: demo\nseed: 3\n")
    return path


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[RunConfig]:
    """Settings of the runs that were started; each finishes at once."""
    configs: list[RunConfig] = []

    def start_run(config: RunConfig, **_: Any) -> RunOutcome:
        configs.append(config)
        return RunOutcome(folder=Path(config.runs_folder, config.name), summary=make_summary())

    monkeypatch.setattr(driver, "start_run", start_run)
    return configs


def raise_in_run(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def start_run(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(driver, "start_run", start_run)


def test_the_version_is_the_installed_one() -> None:
    assert invoke("--version").output == f"pada-agent {version('pada-agent')}\n"


def test_help_answers_in_a_second_and_loads_nothing_heavy() -> None:
    code = f"import sys; from pada_agent.app.cli import app; app(['--help'], standalone_mode=False); print([m for m in {HEAVY} if m in sys.modules])"
    seconds = []
    for _ in range(3):  # the best of three, of the processor: other work on the machine is not ours
        before = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        seconds.append(sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2]) - before)
    assert done.stdout.endswith("[]\n")
    assert min(seconds) < 1


@pytest.mark.parametrize(("policy", "found"), [("", "4 PASSIVE\n"), ("ACTIVE", "4 ACTIVE\n")])
def test_idle_threads_of_a_command_sleep_soon_unless_the_user_says_otherwise(policy: str, found: str) -> None:
    """OpenBLAS reads this when numpy is loaded, so numpy must come later."""
    code = (
        "import os, sys; from pada_agent.app.cli import app; assert 'numpy' not in sys.modules;"
        " app(['config', 'show'], standalone_mode=False);"
        " print(os.environ.get('OPENBLAS_THREAD_TIMEOUT'), os.environ.get('OMP_WAIT_POLICY'))"
    )
    environment = {name: value for name, value in os.environ.items() if name not in WAITING}
    environment |= {"OMP_WAIT_POLICY": policy} if policy else {}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.endswith(found)


def test_settings_are_shown_without_loading_anything_heavy() -> None:
    code = f"import sys; from pada_agent.app.cli import app; app(['config', 'show'], standalone_mode=False); print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n")


def test_a_run_begins_without_torch_and_without_what_later_stages_need() -> None:
    code = "import sys; import pada_agent.app.runs.driver; print(sorted({'torch', 'transformers', 'sklearn', 'scipy.stats'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_first_line_of_a_run_names_its_folder_before_anything_heavy_is_loaded(config_file: Path) -> None:
    code = (
        "import sys; from pada_agent.app import cli\n"
        f"def echo(text): sys.exit(text + str([m for m in {HEAVY} if m in sys.modules]))\n"
        f"cli.echo_error = echo; cli.app(['run', {str(config_file)!r}, '--out', 'runs/first'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.endswith("runs/first: multiple_choice with smollm2-135m-instruct[]\n"), done.stderr


def test_run_prints_the_table(config_file: Path, started: list[RunConfig]) -> None:
    result = invoke("run", config_file, "--set", "loop.max_iterations=1")
    assert result.exit_code == 0
    assert "iteration 1 *" in result.stdout
    assert (started[0].seed, started[0].loop.max_iterations, started[0].runs_folder) == (3, 1, "runs")
    assert started[0].review.strategies is False


def test_out_names_the_folder_and_review_asks_for_one(config_file: Path, started: list[RunConfig]) -> None:
    invoke("run", config_file, "--out", "some where/007", "--review")
    assert (started[0].runs_folder, started[0].name) == ("some where", "007")
    assert started[0].review.strategies is True


def test_a_waiting_run_ends_well_and_says_how_to_answer(config_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = RunOutcome(folder=Path("runs/demo"), questions=(QUESTION,))
    monkeypatch.setattr(driver, "start_run", lambda *_, **__: waiting)
    result = invoke("run", config_file, "--review")
    assert result.exit_code == 0
    assert "pada resume runs/demo --answer FILE.json" in result.stdout
    assert 'An answer is "approve" or {"strategies"' in result.stdout


def test_without_a_terminal_nobody_is_asked(config_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def start_run(*_: object, answer: Any, **__: object) -> RunOutcome:
        assert answer(QUESTION) is None
        return RunOutcome(folder=Path("x"), summary=make_summary())

    monkeypatch.setattr(driver, "start_run", start_run)
    assert invoke("run", config_file).exit_code == 0


def test_what_the_user_can_fix_ends_with_2_and_one_message(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("seeed: 1\nloop: {patience: 0}\n")
    result = invoke("run", tmp_path / "bad.yaml")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "bad.yaml: seeed: " in result.stderr
    assert "bad.yaml: loop.patience: " in result.stderr
    assert "Traceback" not in result.stderr


def test_a_missing_config_ends_with_2(tmp_path: Path) -> None:
    result = invoke("run", tmp_path / "none.yaml")
    assert result.exit_code == 2
    assert "cannot be read" in result.stderr


def test_an_interruption_ends_with_130_and_says_how_to_go_on(
    config_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raise_in_run(monkeypatch, KeyboardInterrupt("resume with: pada resume runs/demo"))
    result = invoke("run", config_file)
    assert result.exit_code == 130
    assert (
        result.stderr
        == "runs/demo: multiple_choice with smollm2-135m-instruct\nInterrupted; resume with: pada resume runs/demo\n"
    )


@pytest.mark.parametrize("module", ["typer", "pada_agent.core.config_files"])
def test_ctrl_c_while_the_command_is_still_being_imported_leaves_no_traceback(module: str) -> None:
    code = (
        "import sys; from pada_agent.app.start import main\n"
        "class Interrupting:\n"
        "    def find_spec(self, name, *_):\n"
        f"        if name == {module!r}: raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupting()); main()"
    )
    done = subprocess.run([sys.executable, "-c", code, "config", "show"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "Interrupted.\n")


def test_a_bug_keeps_its_traceback_and_ends_with_1(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import pada_agent.core.config_files as c\ndef fail(*a, **k): raise ZeroDivisionError('a bug')\nc.parse_config = fail\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pada_agent.app.cli", "config", "show"],
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "ZeroDivisionError: a bug" in done.stderr


def test_resume_of_something_else_ends_with_2(tmp_path: Path) -> None:
    result = invoke("resume", tmp_path)
    assert result.exit_code == 2
    assert "not a run folder" in result.stderr


def test_resume_takes_an_answer_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "answer.json").write_text('"approve"')

    def resume_run(folder: Path, *, answer: Any, **_: object) -> RunOutcome:
        assert answer(QUESTION) == "approve"
        return RunOutcome(folder=folder, summary=make_summary())

    monkeypatch.setattr(driver, "resume_run", resume_run)
    assert invoke("resume", tmp_path, "--answer", tmp_path / "answer.json").exit_code == 0


def test_report_is_written_again(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text(make_summary().model_dump_json())
    result = invoke("report", tmp_path)
    assert result.exit_code == 0
    assert "Augmentation helped." in result.stdout
    assert (tmp_path / "report.html").is_file()


def test_config_show_prints_every_default_and_reads_back(config_file: Path) -> None:
    assert yaml.safe_load(invoke("config", "show").stdout) == RunConfig().model_dump(mode="json")
    shown = yaml.safe_load(invoke("config", "show", config_file, "--set", "lora.rank=8").stdout)
    assert (shown["name"], shown["seed"], shown["lora"]["rank"]) == ("demo", 3, 8)


def test_estimate_reads_the_rows(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"question": "a", "answer": "1"}\n{"question": "b", "answer": "2"}\n')
    path = tmp_path / "config.yaml"
    path.write_text(
        f"task: {{name: exact_match}}\ndata: {{train: {tmp_path}/rows.jsonl, validation: {tmp_path}/rows.jsonl}}\n"
    )
    result = invoke("estimate", path)
    assert result.exit_code == 0
    assert "Rows: 2 training, 2 validation, 0 test" in result.stdout


def test_models_are_pulled_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_store, "pull", lambda name, _: Path("store", name))
    assert invoke("models", "pull", "b", "a").stdout == "b: store/b\na: store/a\n"
    assert len(invoke("models", "pull", "--all").stdout.splitlines()) == len(model_store.catalogue())
    assert invoke("models", "pull").exit_code == 2


def test_models_are_listed_with_whether_they_are_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PADA_MODELS", str(tmp_path))
    result = invoke("models", "list")
    assert "smollm2-135m-instruct" in result.stdout
    assert str(tmp_path) in result.stdout


def test_evaluate_prints_one_line(config_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = make_summary().models[1].validation
    asked: list[dict[str, Any]] = []

    def evaluate_model(_: RunConfig, **options: Any) -> Any:
        asked.append(options)
        return metrics

    fake = SimpleNamespace(evaluate_model=evaluate_model, describe_metrics=lambda m, split: f"{split}: {m.n}")
    monkeypatch.setitem(sys.modules, "pada_agent.app.runs.evaluate_model", fake)
    monkeypatch.setattr("pada_agent.app.runs.evaluate_model", fake, raising=False)
    assert invoke("evaluate", config_file, "--split", "test", "--adapter", "best").stdout == "test: 100\n"
    assert (asked[0]["split"], asked[0]["adapter"]) == ("test", Path("best"))
    assert invoke("evaluate", config_file, "--split", "train").exit_code == 2


def test_evaluate_warns_of_an_adapter_that_names_another_student(
    config_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = SimpleNamespace(evaluate_model=lambda *_, **__: None, describe_metrics=lambda *_, **__: "90%")
    monkeypatch.setattr("pada_agent.app.runs.evaluate_model", fake, raising=False)
    monkeypatch.setitem(sys.modules, "pada_agent.app.runs.evaluate_model", fake)
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "owner/other"}')
    result = invoke("evaluate", config_file, "--adapter", str(tmp_path))
    assert result.stderr.startswith(f"Warning: the adapter {tmp_path} names owner/other as its base model, but ")
    assert result.stdout == "90%\n"
    monkeypatch.setattr("pada_agent.app.runs.adapter_prompts.doubt_prompts", lambda *_: "Warning: other prompts")
    assert invoke("evaluate", config_file, "--adapter", str(tmp_path)).stderr.endswith("\nWarning: other prompts\n")


def test_an_arm_changes_the_runs_settings(config_file: Path, started: list[RunConfig]) -> None:
    assert invoke("run", config_file, "--arm", "pada_no_quality").exit_code == 0
    assert not started[0].quality.enabled
    result = invoke("run", config_file, "--arm", "magic")
    assert result.exit_code == 2 and "known are untouched, vanilla" in result.stderr


def test_set_takes_precedence_over_an_arm_and_an_arm_over_the_file(config_file: Path, started: list[RunConfig]) -> None:
    config_file.write_text(f"{config_file.read_text()}\nquality: {{threshold: 3, floor: 2}}\n")
    arm = ("run", config_file, "--arm", "pada_paper")
    assert invoke(*arm, "--set", "quality.threshold=9").exit_code == 0
    quality = started[0].quality
    assert (quality.threshold, quality.floor, quality.accept) == (9, 1, "batch")
    for value, told in (("99", "--set: quality.threshold: "), ("9", "--arm pada_paper: quality is a value")):
        text = "quality: 5\n" if value == "9" else ""
        config_file.write_text(text)
        result = invoke(*arm, "--set", f"quality.threshold={value}")
        assert (result.exit_code, told in result.stderr) == (2, True), result.stderr


@pytest.mark.parametrize("key", ["name", "runs_folder"])
def test_the_folder_of_a_run_is_named_once(config_file: Path, started: list[RunConfig], key: str) -> None:
    result = invoke("run", config_file, "--out", "here/one", "--set", f"{key}=other")
    assert (result.exit_code, started) == (2, [])
    assert f"--out here/one and --set {key}=… both name the run's folder. Leave one of them out." in result.stderr


def test_a_grid_that_is_none_and_a_run_that_is_not_there_end_with_2(tmp_path: Path) -> None:
    assert invoke("experiment", tmp_path / "none.yaml").exit_code == 2
    wrong = invoke("experiment", "configs/experiments/local.yaml", "--seeds", "0,one")
    assert wrong.exit_code == 2 and "'one' is not a seed" in wrong.output
    for n in ("0", "-1", "65", "1.5", "two", ""):
        wrong = invoke("experiment", "configs/experiments/local.yaml", "--parallel", n)
        expected = f"Error: --parallel: '{n}' is not a number of runs; expected a whole number from 1 to 64"
        assert wrong.exit_code == 2 and wrong.output.strip() == expected
    for option in ("--arms", "--seeds"):
        wrong = invoke("experiment", "configs/experiments/local.yaml", option, " , ")
        assert wrong.exit_code == 2 and wrong.output.startswith(f"Error: {option}: names nothing")
    wrong = invoke("experiment", "configs/experiments/local.yaml", "--power", "--headroom")
    assert wrong.exit_code == 2 and "--power is about test rows, which --headroom does not read" in wrong.output
    missing = invoke("compare", tmp_path / "a", tmp_path / "b")
    assert missing.exit_code == 2 and "a: no such folder" in missing.stderr
    assert "two or more different runs" in invoke("compare", tmp_path, tmp_path).stderr
