from pathlib import Path

import pytest

from pada_agent.app.runs.driver import Question, RunOutcome
from pada_agent.app.terminal.arguments import word_experiment
from pada_agent.app.terminal.console import report_outcome


def test_the_command_that_continues_an_experiment_can_be_pasted() -> None:
    told = word_experiment(Path("my grids/a.yaml"), True, "pada,auggpt", "0, 1", 2)
    assert told == "pada experiment 'my grids/a.yaml' --headroom --arms pada,auggpt --seeds '0, 1' --parallel 2"
    assert word_experiment(Path("a.yaml"), False, None, None) == "pada experiment a.yaml"


def test_the_command_that_answers_a_question_can_be_pasted(capsys: pytest.CaptureFixture[str]) -> None:
    question = Question(id="q", payload={"review": "strategies", "strategies": []})
    report_outcome(RunOutcome(folder=Path("my runs/a"), questions=(question,)))
    assert "then: pada resume 'my runs/a' --answer FILE.json" in capsys.readouterr().out
