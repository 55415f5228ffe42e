"""All problems at once, also while a key is missing."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pada_agent.app import wiring
from pada_agent.app.adapters.compute.local_compute import LocalCompute
from pada_agent.app.runs.checking import check_run, refuse_missing
from pada_agent.core.config import RunConfig
from pada_agent.core.config_files import parse_config
from pada_agent.core.errors import ConfigError, PadaError
from tests.toy_command import WORKER
from tests.toy_world import LABELS, TRAIN


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


@pytest.fixture(autouse=True)
def _quick_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker without torch, whose tokenizer has a token a byte."""

    def open_quickly(_: RunConfig, folder: Path) -> LocalCompute:
        return LocalCompute(folder / "objects", folder / "worker.log", command=WORKER)

    monkeypatch.setattr(wiring, "open_compute", open_quickly)


def configure(folder: Path, rows: Sequence[dict[str, Any]] = TRAIN, **task: Any) -> RunConfig:
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    teacher = {"model": "openai:gpt-4o-mini"}
    values = {
        "task": {"name": "multiple_choice", "labels": LABELS, **task},
        "data": dict.fromkeys(("train", "validation", "test"), str(folder / "rows.jsonl")),
        "student": {"model": "owner/student"},
        "models": {"embedder": "owner/embedder", "analyst": teacher, "generator": teacher, "judge": teacher},
    }
    return parse_config(values, origin="test")


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ({"labels": {"fruit": "things that grow on trees"}}, "labels"),
        ({"columns": {"questoin": "question", "answer": "answer"}}, "questoin"),
        ({"name": "multiple-choice"}, "there is no task 'multiple-choice'"),
    ],
)
def test_what_is_wrong_with_the_task_is_told_once_with_the_missing_keys(
    tmp_path: Path, task: dict[str, Any], words: str
) -> None:
    config = configure(tmp_path, **task)
    texts = [finding.text for finding in check_run(config).findings if finding.stops]
    assert sum("no API key" in text for text in texts) == 3
    assert sum(words in text for text in texts) == 1
    with pytest.raises(ConfigError, match=words) as caught:
        refuse_missing(config)
    assert "no API key" in str(caught.value)


def test_a_task_that_asks_a_judge_is_not_told_to_set_one(tmp_path: Path) -> None:
    texts = [finding.text for finding in check_run(configure(tmp_path, name="judge", labels={})).findings]
    assert sum("no API key" in text for text in texts) == 3 and not any("needs an LLM" in text for text in texts)


def test_rows_that_a_judge_will_score_are_checked_without_it(tmp_path: Path) -> None:
    config = configure(tmp_path, [*TRAIN, {"question": "why?", "answer": ""}], name="judge", labels={})
    assert f"rows.jsonl:{len(TRAIN) + 1}: field 'answer' is empty" in " ".join(
        f.text for f in check_run(config).findings
    )


def test_rows_are_measured_and_shown_although_the_key_is_missing(tmp_path: Path) -> None:
    config = configure(tmp_path, [*TRAIN, {"question": "why " * 300, "answer": TRAIN[0]["answer"]}])
    report = check_run(config, probe=False)
    told = f"rows.jsonl:{len(TRAIN) + 1}: too long to be trained on, with up to "
    assert sum(told in finding.text for finding in report.findings) == 1
    assert report.lengths["train"].prompt.longest > 1000 and report.new_tokens
    assert len(report.rows) == 3 and report.rows[-1].prompt.count("why ") == 300
    with pytest.raises(PadaError, match="too long to be trained on"):
        refuse_missing(config)


def test_rows_are_not_measured_if_the_student_is_missing(tmp_path: Path) -> None:
    config = configure(tmp_path)
    config = config.model_copy(update={"student": config.student.model_copy(update={"model": "smollm2-none"})})
    report = check_run(config, probe=False)
    assert report.files and not report.lengths and not report.rows


def test_settings_that_do_no_good_are_told_although_the_key_is_missing(tmp_path: Path) -> None:
    config = configure(tmp_path)
    config = config.model_copy(update={"lora": config.lora.model_copy(update={"learning_rate": 2.0})})
    assert "lora.learning_rate is 2" in " ".join(f.text for f in check_run(config).findings if not f.stops)
