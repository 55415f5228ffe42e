"""Which finished runs may be compared. Whole ones are compared in tests/integration/test_experiment.py."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from pada_agent.app.experiment.compare_runs import compare_runs, describe_runs
from pada_agent.app.run_folder import layout
from pada_agent.core.config import RunConfig
from pada_agent.core.errors import ArtifactError, ConfigError
from pada_agent.core.records import Example, Metrics, Prediction, ScoredRow, Verdict
from tests.unit.app.summaries import make_summary

N_ROWS = 4


def save_run(folder: Path, *, n_unscored: int = 0, **changes: Any) -> Path:
    """A finished run with as little in its folder as a comparison needs."""
    metrics = Metrics(n=N_ROWS, n_correct=2, n_unscored=n_unscored, accuracy=0.5, low=0.1, high=0.9)
    summary = make_summary()
    models = tuple(model.model_copy(update={"test": metrics}) for model in summary.models)
    predictions = folder / "iterations" / "1" / "predictions"
    predictions.mkdir(parents=True)
    rows = [
        ScoredRow(
            example=Example(id=str(i), prompt=f"Why {i}?", answer="so"),
            prediction=Prediction(example_id=str(i), response="so"),
            verdict=Verdict(example_id=str(i), value="correct" if i % 2 else "wrong"),
        )
        for i in range(N_ROWS)
    ]
    (predictions / "test.jsonl").write_text("".join(row.model_dump_json() + "\n" for row in rows))
    (folder / "summary.json").write_text(summary.model_copy(update={"models": models}).model_dump_json())
    values: dict[str, Any] = {"task": {"name": "judge"}, **changes}
    (folder / "config.yaml").write_text(layout.dump_config(RunConfig.model_validate(values)))
    return folder


@pytest.mark.parametrize(
    ("ours", "theirs", "named"),
    [
        ({"models": {"judge": {"model": "openai:gpt-4o"}}}, {"models": {"judge": {"model": "openai:tiny"}}}, "models.judge differs"),
        ({}, {"prompts": {"answer_judgement": "Be {{ kind }}."}}, "prompts.answer_judgement differs"),
        ({"task": {"name": "sql"}}, {"task": {"name": "sql", "query_seconds": 60}}, "task.query_seconds differs"),
        ({"task": {"name": "numeric"}}, {"task": {"name": "exact_match", "no_answer": "none"}}, "task.name, task.no_answer differ"),
    ],
)  # fmt: skip
def test_runs_that_were_scored_differently_are_not_compared(
    tmp_path: Path, ours: dict[str, Any], theirs: dict[str, Any], named: str
) -> None:
    folders = [save_run(tmp_path / "a", **ours), save_run(tmp_path / "b", **theirs)]
    with pytest.raises(ConfigError) as caught:
        compare_runs(folders)
    assert str(caught.value) == (
        f"{folders[0]} and {folders[1]} cannot be compared: {named}, so their answers were scored differently."
        " Run one of them again with the settings of the other."
    )


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({}, {"lora": {"rank": 4}, "data": {"test": "elsewhere.jsonl"}, "seed": 3}),
        ({"task": {"labels": {"a": "", "b": ""}}}, {"task": {"labels": {"a": "the first", "b": "the last"}}}),
        ({}, {"task": {"name": "judge", "description": "Customers ask.", "turns": "all", "columns": {"question": "q"}}}),
        ({"models": {"judge": {"model": "openai:x"}}}, {"models": {"judge": {"model": "openai:x", "max_concurrency": 1}}}),
        *[
            ({"task": {"name": "numeric"}}, {"task": {"name": "numeric"}, **judge})
            for judge in ({"models": {"judge": {"model": "openai:x"}}}, {"prompts": {"answer_judgement": "Be {{ kind }}."}})
        ],
    ],
)  # fmt: skip
def test_runs_that_were_scored_alike_are_compared_whatever_else_differs(
    tmp_path: Path, ours: dict[str, Any], theirs: dict[str, Any]
) -> None:
    compared = compare_runs([save_run(tmp_path / "a", **ours), save_run(tmp_path / "b", **theirs)])
    assert [c.verdict for c in compared.comparisons] == ["not shown"]


def test_a_comparison_tells_of_answers_of_different_engines(tmp_path: Path) -> None:
    folders = [save_run(tmp_path / "a"), save_run(tmp_path / "b", student={"engine": "vllm"})]
    assert "by different engines (student.engine: own and vllm). These round differently" in describe_runs(
        compare_runs(folders)
    )
    assert "engine" not in describe_runs(compare_runs([folders[0], save_run(tmp_path / "c")]))


def test_a_run_from_before_a_setting_existed_has_its_default(tmp_path: Path) -> None:
    folders = [save_run(tmp_path / name) for name in ("a", "b")]
    path = folders[0] / "config.yaml"
    values = yaml.safe_load(path.read_text())
    del values["task"]["query_seconds"]
    path.write_text(yaml.safe_dump(values))
    assert compare_runs(folders).comparisons
    path.unlink()
    with pytest.raises(ArtifactError, match=r"a: not a run folder \(it has no config\.yaml\)"):
        compare_runs(folders)


def test_a_comparison_tells_of_other_versions_and_of_answers_that_could_not_be_scored(tmp_path: Path) -> None:
    folders = [save_run(tmp_path / "a", n_unscored=1), save_run(tmp_path / "b")]
    for folder, version in zip(folders, ("0.1.0", "0.2.0"), strict=True):
        (folder / "manifest.json").write_text(json.dumps({"packages": {"pada-agent": version}, "commit": ""}))
    text = describe_runs(compare_runs(folders))
    assert "begun with different versions (pada-agent 0.1.0 and 0.2.0)" in text
    assert f"{folders[0]}: iteration 1: 1 answer could not be scored, and counts as not correct." in text
    assert f"{folders[1]}: iteration 1: " not in text.partition("not about methods.")[2]
