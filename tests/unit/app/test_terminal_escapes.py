"""What models, servers and data wrote has no control over the terminal: whichever command shows it."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pada_agent.app.experiment import compare_runs
from pada_agent.app.run_folder.events import RunEvent
from pada_agent.app.runs import driver
from pada_agent.app.runs.driver import Question, RunOutcome
from pada_agent.app.terminal import console
from pada_agent.app.terminal.answers import ask_on_terminal
from pada_agent.app.terminal.display import LiveDisplay, PlainDisplay
from pada_agent.app.text import align_columns
from pada_agent.core.errors import AgentError
from pada_agent.core.progress import Progress
from pada_agent.graph.summary import RunSummary
from tests.unit.app.summaries import make_summary
from tests.unit.app.test_cli import invoke

EVIL = "\x1b]0;title\x07\x1b[2J\r\x9b31m\x08\u202edlrow\ud83d"
TEXTS = (
    "Refund <b>or</b> return",
    "Takes refunds",
    "Money back",
    "the judge is",
    "Augmentation",
    "max_iter",
    "smollm2",
    "demo",
)
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]")


def make_evil_summary() -> RunSummary:
    return _spoil(make_summary())


def _spoil(value: Any) -> Any:
    """The value, with EVIL in front of each of the texts, wherever they are (but no half pair: no file holds one)."""
    if isinstance(value, str):
        return EVIL[:-1] + value if value.startswith(TEXTS) else value
    if isinstance(value, tuple):
        return tuple(map(_spoil, value))
    if hasattr(value, "model_fields_set"):
        return value.model_copy(update={name: _spoil(item) for name, item in value})
    return value


QUESTIONS = [
    Question(
        id="q",
        payload={"review": "strategies", "problem": EVIL, "strategies": [{"name": EVIL, "list": [EVIL, "\u202e"]}]},
    ),
    Question(
        id="q",
        payload={"review": "data", "rows": [{"id": "1", "prompt": EVIL}], "rejected": [{"id": "2", "reason": EVIL}]},
    ),
]


def finish(*_: object, **__: object) -> RunOutcome:
    return RunOutcome(folder=Path("x"), summary=make_evil_summary())


def wait(*_: object, **__: object) -> RunOutcome:
    return RunOutcome(folder=Path("x"), questions=tuple(QUESTIONS))


def fail(*_: object, **__: object) -> RunOutcome:
    raise AgentError(f"the server says: {EVIL}")


@pytest.mark.parametrize("end", [finish, wait, fail])
@pytest.mark.parametrize("command", ["run", "resume"])
def test_runs(command: str, end: Callable[..., RunOutcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.yaml").write_text("name: demo\n")
    monkeypatch.setattr(driver, "start_run", end)
    monkeypatch.setattr(driver, "resume_run", end)
    result = invoke(command, tmp_path / "config.yaml")
    assert "[U+001B]]0;title[U+0007]" in result.output
    assert not CONTROL.search(result.output)


def test_reports_and_comparisons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "summary.json").write_text(make_evil_summary().model_dump_json())
    result = invoke("report", tmp_path)
    assert result.exit_code == 0 and "[U+001B]" in result.output and not CONTROL.search(result.output)
    monkeypatch.setattr(compare_runs, "compare_runs", lambda _: None)
    monkeypatch.setattr(compare_runs, "describe_runs", lambda _: EVIL)
    assert not CONTROL.search(invoke("compare", tmp_path, tmp_path).output)


def test_reviews_on_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    from pada_agent.app.terminal.console import echo_error

    for question in QUESTIONS:
        assert ask_on_terminal(echo_error, lambda _: "a")(question) == "approve"
    assert not CONTROL.search(capsys.readouterr().err)


class Terminal:
    """Keeps what was written, colors of `rich` taken out."""

    def __init__(self) -> None:
        self.written = ""

    def write(self, text: str) -> None:
        self.written += text

    def flush(self) -> None: ...

    def isatty(self) -> bool:
        return False


@pytest.mark.parametrize("kind", [PlainDisplay, LiveDisplay])
@pytest.mark.parametrize("done", [0, 1])
def test_progress(kind: Any, done: int) -> None:
    terminal = Terminal()
    display = kind(terminal)
    display(RunEvent(mode="custom", data=Progress(stage=f"finish{EVIL}", done=done, total=1, detail=EVIL).model_dump()))
    display.close()
    assert "]0;title" in terminal.written and not CONTROL.search(terminal.written)


def test_a_cell_of_a_table_is_one_line() -> None:
    assert align_columns([["a", "b"], [f"x\n\ty{EVIL[:1]}", "1"]]).split("\n")[2] == "x y[U+001B]  1"


def test_every_command_writes_by_the_one_way() -> None:
    app = Path(console.__file__).parents[1]
    written = [path.read_text().count("typer.echo(") for path in (app / "cli.py", *(app / "terminal").glob("*.py"))]
    assert written[0] == 0 and sum(written) == 1
