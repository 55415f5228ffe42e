import json
import sys
from pathlib import Path
from typing import Any

import pytest

from pada_agent.app.runs.driver import Question
from pada_agent.app.terminal import answers
from pada_agent.core.errors import ConfigError


def make_strategy(number: int) -> dict[str, Any]:
    return {
        "id": f"s{number}",
        "pattern_id": f"p{number}",
        "category_name": "c",
        "strategy_name": f"Strategy {number}",
        "generation_approach": "a",
        "key_elements": ["k"],
        "confusions": [],
    }


STRATEGIES = Question(id="q", payload={"review": "strategies", "strategies": [make_strategy(1), make_strategy(2)]})
DATA = Question(
    id="q",
    payload={
        "review": "data",
        "rows": [{"id": "a", "prompt": "p", "answer": "x"}, {"id": "b", "prompt": "p", "answer": "y"}],
        "rejected": [{"id": "r", "reason": "too easy", "text": "t"}],
    },
)


def use_editor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, python: str) -> None:
    script = tmp_path / "editor.py"
    script.write_text(
        f"import json, pathlib, sys\npath = pathlib.Path(sys.argv[1])\nitems = json.loads(path.read_text())\n{python}\n"
    )
    monkeypatch.setenv("EDITOR", f"{sys.executable} -I -S {script}")


def test_a_question_shows_its_items_with_numbers() -> None:
    text = answers.describe_question(STRATEGIES)
    assert text.startswith("The run is waiting for a review of its strategies (2 shown).")
    assert "\n2.\n   id: s2\n" in text
    assert "confusions" not in text


def test_approving_and_waiting() -> None:
    assert answers.decide(STRATEGIES, "a") == "approve"
    assert answers.decide(STRATEGIES, "w") is None


def test_dropping_strategies_keeps_the_others_and_dropping_rows_names_them() -> None:
    assert answers.decide(STRATEGIES, "d 1") == {"strategies": [make_strategy(2)]}
    assert answers.decide(DATA, "d 2 1") == {"drop": ["a", "b"]}


def test_rows_may_be_dropped_and_kept_in_one_answer() -> None:
    assert answers.decide(DATA, "d 2 k 1") == {"drop": ["b"], "accept": ["r"]}
    assert answers.decide(DATA, "k 1") == {"accept": ["r"]}
    with pytest.raises(ConfigError, match="from 1 to 1"):
        answers.decide(DATA, "d 2 k 2")


@pytest.mark.parametrize("command", ["", "x", "d", "d 3", "d 0", "d two"])
def test_what_is_no_decision_is_asked_again(command: str) -> None:
    replies, shown = iter([command, "a"]), list[str]()
    assert answers.ask_on_terminal(shown.append, lambda _: next(replies))(STRATEGIES) == "approve"
    assert len(shown) == 2


def test_strategies_are_edited_in_the_editor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    use_editor(monkeypatch, tmp_path, "items[0]['strategy_name'] = 'Better'\npath.write_text(json.dumps(items))")
    assert answers.decide(STRATEGIES, "e")["strategies"][0]["strategy_name"] == "Better"


def test_rows_are_taken_out_in_the_editor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    use_editor(monkeypatch, tmp_path, "path.write_text(json.dumps(items[1:]))")
    assert answers.decide(DATA, "e") == {"drop": ["a"]}


@pytest.mark.parametrize(
    "python", ["path.write_text('{')", "sys.exit(3)", "path.write_text('[{}]')", "path.write_text('{}')"]
)
@pytest.mark.parametrize("question", [STRATEGIES, DATA], ids=["strategies", "data"])
def test_a_spoiled_edit_is_explained(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, python: str, question: Question
) -> None:
    use_editor(monkeypatch, tmp_path, python)
    with pytest.raises(ConfigError):
        answers.edit_items(question)


def test_a_file_answers_the_first_question_only(tmp_path: Path) -> None:
    path = tmp_path / "answer.json"
    path.write_text(json.dumps({"drop": ["a"]}))
    answer = answers.answer_from_file(path)
    assert answer(DATA) == {"drop": ["a"]}
    assert answer(DATA) is None


@pytest.mark.parametrize("reply", ["yes", None, {"drop": ["a"]}, {"strategies": [{"id": "s1"}]}, {}, []])
def test_a_file_that_does_not_answer_the_question_is_refused(tmp_path: Path, reply: object) -> None:
    path = tmp_path / "answer.json"
    path.write_text(json.dumps(reply))
    with pytest.raises(ConfigError, match="An answer is"):
        answers.answer_from_file(path)(STRATEGIES)


def test_an_unreadable_answer_file_is_explained(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        answers.answer_from_file(tmp_path / "none.json")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(ConfigError, match="not valid JSON"):
        answers.answer_from_file(tmp_path / "bad.json")


def test_a_run_keeps_waiting_when_the_input_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-D, or bytes that are no text in the terminal's encoding."""
    typed = iter([UnicodeDecodeError("utf-8", b"\xe9", 0, 1, "invalid"), EOFError()])

    def ask(_: str) -> str:
        raise next(typed)

    shown: list[str] = []
    assert answers.ask_on_terminal(shown.append, ask)(STRATEGIES) is None
    assert shown[1:] == ["What was typed is not in the terminal's encoding."]
    monkeypatch.setenv("EDITOR", "my editor's")
    with pytest.raises(ConfigError, match="EDITOR: my editor's: not a command"):
        answers.edit_items(STRATEGIES)
