"""What a table says about the runs and rows behind it, and which runs it refuses to compare."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from pada_agent.app.experiment.compare_runs import compare_runs, describe_runs
from pada_agent.app.experiment.grid import Cell, PairEntry
from pada_agent.app.experiment.results import collect_result, measure_arm
from pada_agent.app.experiment.run_notes import tell_alarms
from pada_agent.app.experiment.tables import pairs_to_csv
from pada_agent.core.errors import ConfigError
from pada_agent.core.records import Example, Metrics, Prediction, ScoredRow, Verdict
from tests.unit.app.experiment.test_compare_runs import save_run
from tests.unit.app.experiment.test_experiment import plan
from tests.unit.app.summaries import make_summary

N_ROWS = 30


def save_answers(path: Path, *, answer: str = "so", passages: int = 0, prefix: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        ScoredRow(
            example=Example(
                id=f"{prefix}{i}",
                prompt=f"Why {i}?",
                answer=answer,
                reference={"passage": f"On day {i % passages}."} if passages else {},
            ),
            prediction=Prediction(example_id=f"{prefix}{i}", response="so"),
            verdict=Verdict(example_id=f"{prefix}{i}", value="correct" if i % 2 else "wrong"),
        )
        for i in range(N_ROWS)
    ]
    path.write_text("".join(row.model_dump_json() + "\n" for row in rows))


def finish(
    cell: Cell, *, n_train: int = 120, n_steps: int | None = None, alarms: tuple[str, ...] = (), **rows: Any
) -> None:
    """Give the cell a finished run."""
    metrics = Metrics(n=N_ROWS, n_correct=15, accuracy=0.5, low=0.3, high=0.7)
    models = tuple(
        m.model_copy(
            update={"test": metrics, "n_train_rows": n_train, "n_steps": None if m.iteration is None else n_steps}
        )
        for m in make_summary().models
    )
    summary = make_summary(models=models, usage={}, alarms=alarms)
    cell.folder.mkdir(parents=True, exist_ok=True)
    (cell.folder / "summary.json").write_text(summary.model_dump_json())
    for iteration in ("0", "1"):
        save_answers(cell.folder / "iterations" / iteration / "predictions" / "test.jsonl", **rows)


def plan_here(folder: Path, **grid: Any) -> list[Cell]:
    return plan(folder, runs_folder=str(folder), **grid)


@pytest.mark.parametrize("others", [{"answer": "not so"}, {"prefix": "x"}])
def test_arms_that_were_measured_on_other_rows_are_not_compared(tmp_path: Path, others: dict[str, Any]) -> None:
    """Ids may stay what they were when a data set on the hub, or the way in which rows are read, changes."""
    vanilla, le, pada = plan_here(tmp_path, arms=["vanilla", "le", "pada"])
    finish(vanilla), finish(le), finish(pada, **others)
    cannot = f"{le.folder} and {pada.folder} cannot be compared: test row '0' differs, or only one of them has it"
    with pytest.raises(ConfigError, match=cannot):
        collect_result("g", [vanilla, le, pada], [PairEntry(arm="pada", against="le")])
    with pytest.raises(ConfigError, match=f"{vanilla.folder} and {pada.folder} cannot be compared"):
        collect_result("g", [vanilla, le, pada])
    finish(pada)
    assert collect_result("g", [vanilla, le, pada], [PairEntry(arm="pada", against="le")]).pairs


def test_seeds_that_were_measured_on_other_rows_are_no_traceback(tmp_path: Path) -> None:
    one, two = plan_here(tmp_path, seeds=[0, 1])
    finish(one), finish(two, prefix="x")
    with pytest.raises(ConfigError, match="Delete the folders of those with the old rows"):
        measure_arm([one, two])


def test_a_table_tells_of_alarms_of_its_runs(tmp_path: Path) -> None:
    cells = plan_here(tmp_path, arms=["le", "pada"])
    finish(cells[0], alarms=("30 of 100 answers of 'fine-tuned' are out of format (30%)",))
    finish(cells[1], alarms=("30 of 100 answers of 'fine-tuned' are out of format (30%)", "an odd\n judge"))
    assert collect_result("g", cells).notes[-2:] == (
        "Alarm in toy-all-le-s0, toy-all-pada-s0: 30 of 100 answers of 'fine-tuned' are out of format (30%)",
        "Alarm in toy-all-pada-s0: an odd judge",
    )


def test_of_many_alarms_most_are_only_counted() -> None:
    told = tell_alarms([("a", [f"alarm {i}" for i in range(9)]), ("b", ["alarm 8"])])
    assert told[0] == "Alarm in a, b: alarm 8" and len(told) == 6
    assert told[-1] == "4 more alarms in a: see report.html there."


def test_a_table_tells_of_questions_that_share_passages(tmp_path: Path) -> None:
    """They are not independent, which the tests take them for."""
    (cell,) = plan_here(tmp_path)
    finish(cell, passages=3)
    (note,) = (n for n in collect_result("g", [cell]).notes if "passage" in n)
    assert note.startswith("test rows of toy: 30 rows ask about 3 passages.") and "intervals are too narrow" in note
    finish(cell, passages=N_ROWS)
    assert "passage" not in " ".join(collect_result("g", [cell]).notes)


def test_a_table_tells_of_sizes_of_which_rows_were_dropped(tmp_path: Path) -> None:
    small, large = plan_here(tmp_path, sizes=[8, 16])
    finish(small, n_train=8), finish(large, n_train=13)
    notes = collect_result("g", [small, large]).notes
    assert [n for n in notes if "trained on" in n] == [
        "toy (16 rows): 13 were trained on. The others repeat earlier ones, or are also in validation or test."
    ]


def test_a_table_over_runs_of_different_versions_names_them(tmp_path: Path) -> None:
    cells = plan_here(tmp_path, arms=["vanilla", "vanilla_equal_steps"])
    for i, cell in enumerate(cells):
        finish(cell)
        packages = {"pada-agent": "0.1.0", "torch": "2.9.0", "transformers": f"5.{5 + i}.0", "langgraph": f"1.{i}"}
        manifest = {"packages": packages, "commit": "0123456789abcdef"}
        (cell.folder / "manifest.json").write_text(json.dumps(manifest))
    note = "The runs were begun with different versions (transformers 5.5.0 and 5.6.0), which may be the reason for a difference."
    assert len({cell.folder for cell in cells}) == 2
    assert collect_result("x", cells).notes == (note,)
    (cells[1].folder / "manifest.json").write_text((cells[0].folder / "manifest.json").read_text())
    assert collect_result("x", cells).notes == ()
    (cells[1].folder / "manifest.json").write_text(
        json.dumps({**manifest, "packages": {**packages, "transformers": "5.5.0"}, "commit": "fedcba9876543210"})
    )
    assert (
        "(pada-agent 0.1.0, commit 0123456789ab and 0.1.0, commit fedcba987654)" in collect_result("x", cells).notes[-1]
    )


def test_arms_that_trained_the_same_adapters_are_told(tmp_path: Path) -> None:
    """An ablation of a part that had nothing to do says nothing about that part."""
    cells = plan_here(tmp_path, arms=["vanilla", "pada", "pada_no_variations"], seeds=[0, 1])
    for cell in cells:
        finish(cell)
    told = "On toy, pada, pada_no_variations trained the same adapters: what differs in their settings changed nothing."
    assert told in collect_result("g", cells).notes
    path = cells[-1].folder / "summary.json"
    path.write_text(path.read_text().replace("objects/fine-tune-1", "objects/fine-tune-2"))
    assert not [note for note in collect_result("g", cells).notes if "adapters: what" in note]


def test_the_untouched_student_took_no_steps(tmp_path: Path) -> None:
    untouched, vanilla = plan_here(tmp_path, arms=["untouched", "vanilla"], set={"lora.n_steps": 9})
    assert untouched.folder == vanilla.folder
    finish(vanilla, n_steps=9)
    save_answers(vanilla.folder / "iterations" / "untouched" / "predictions" / "test.jsonl")
    result = collect_result("g", [untouched, vanilla], [PairEntry(arm="vanilla", against="untouched")])
    assert [o.n_steps for o in result.outcomes] == [(0,), (9,)]
    (row,) = csv.DictReader(pairs_to_csv(result).splitlines())
    assert row["steps"] == "9 against 0"


def test_hours_are_those_of_the_clock_also_where_stages_overlap(tmp_path: Path) -> None:
    (cell,) = plan_here(tmp_path)
    finish(cell)
    stages = {"data_generation": 3_000.0, "quality_control": 2_400.0}
    path = cell.folder / "summary.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "seconds_by_stage": stages}))
    assert measure_arm([cell]).hours == 1.5, "nothing else is known"
    times = [{"time": f"2026-11-{time}:00.000+00:00"} for time in ("28T23:30", "28T23:50", "29T00:30")]
    (cell.folder / "events.jsonl").write_text("".join(json.dumps(time) + "\n" for time in times))
    assert measure_arm([cell]).hours == 1


def test_runs_side_by_side_tell_of_alarms(tmp_path: Path) -> None:
    folders = [save_run(tmp_path / "a"), save_run(tmp_path / "b")]
    path = folders[1] / "summary.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "alarms": ["all is odd"]}))
    assert f"Alarm in {folders[1]}: all is odd" in describe_runs(compare_runs(folders))
