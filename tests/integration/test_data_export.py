"""The synthetic rows of a real toy run, loaded by the library that others use."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from pada_agent.app.cli import app
from pada_agent.app.results.publish import publish_run
from pada_agent.app.run_folder.layout import dump_config
from pada_agent.evaluation.rows.conversation import read_pairs
from tests.integration.graph_runs import run as run_graph
from tests.integration.graph_runs import save_run
from tests.toy_world import TEST, TRAIN, VALIDATION, ToyWorld, make_rows, make_settings


def export(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["export", *map(str, arguments), "--what", "data"])


def test_rows_come_with_their_provenance_and_a_card(run: Path, tmp_path: Path) -> None:
    result = export(run, "--out", tmp_path / "out", "--license", "cc0-1.0")
    assert result.exit_code == 0, result.output
    summary = json.loads((run / "summary.json").read_text())
    rows = [json.loads(line) for line in (tmp_path / "out" / "data" / "train.jsonl").read_text().splitlines()]
    assert len(rows) == summary["rows"]["accepted"]
    assert f"{len(rows)} rows: " in result.stdout
    assert {row["branch"] for row in rows} == {"pattern", "training_error"}
    assert all((row["pattern"] is not None) == (row["branch"] == "pattern") for row in rows)
    assert all(row["source_id"].startswith("train-") for row in rows)
    best = next(arm for arm in summary["models"] if arm["name"] == summary["best_model"])
    assert sum(row["in_best_model"] for row in rows) == best["n_synthetic"]
    assert {(row["reason"], row["rating"], row["utility"]) for row in rows} == {("rated 8.0: clear enough", 8.0, 8)}
    assert all((row["adherence"] is None) == (row["branch"] == "training_error") for row in rows)
    assert "license: cc0-1.0\n" in (tmp_path / "out" / "README.md").read_text()


def test_a_run_that_kept_no_ratings_is_exported_without_them(run: Path, tmp_path: Path) -> None:
    for path in (run / "iterations").glob("[0-9]*/synthetic.jsonl"):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        old = [{k: v for k, v in row.items() if k not in ("reason", "rating")} for row in rows]
        path.write_text("".join(json.dumps(row) + "\n" for row in old))
    assert export(run, "--out", tmp_path / "out").exit_code == 0
    rows = [json.loads(line) for line in (tmp_path / "out" / "data" / "train.jsonl").read_text().splitlines()]
    assert rows and {(row["reason"], row["rating"], row["relevance"]) for row in rows} == {("", None, None)}


def test_rows_come_with_the_turns_before_them_in_a_form_that_is_read_again(run: Path, tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "What is it?"}]
    path = run / "iterations" / "1" / "synthetic.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[0] |= {"system": "Be brief.", "history": turns}
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert export(run, "--out", tmp_path / "out").exit_code == 0
    first, second = read_rows(tmp_path / "out")[:2]
    assert (first["system"], first["history"]) == ("Be brief.", [["Hi.", "What is it?"]])
    assert (second["system"], second["history"]) == (None, [])
    assert [turn.model_dump() for turn in read_pairs(first["history"])] == turns


def test_the_adapter_in_best_has_a_card(run: Path) -> None:
    assert "model-index:" in (run / "best" / "README.md").read_text()


@pytest.mark.filterwarnings("ignore")
def test_datasets_loads_the_folder(run: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    export(run, "--out", tmp_path / "out")
    lines = (tmp_path / "out" / "data" / "train.jsonl").read_text().splitlines()
    for name, options in ((str(tmp_path / "out"), {}), ("json", {"data_files": f"{tmp_path}/out/data/train.jsonl"})):
        loaded = datasets.load_dataset(name, split="train", cache_dir=str(tmp_path / "cache"), **options)
        assert [row["id"] for row in loaded] == [json.loads(line)["id"] for line in lines]
        assert {"prompt", "answer", "pattern", "in_best_model"} <= set(loaded.column_names)


def test_a_licence_is_not_dropped_in_silence(run: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["export", str(run), "--out", str(tmp_path / "out"), "--license", "mit"])
    assert result.exit_code == 2 and "Use it with --what data" in result.stderr


def test_what_cannot_be_exported_is_named(run: Path, tmp_path: Path) -> None:
    taken = export(run, "--out", run)
    assert taken.exit_code == 2 and "already exists" in taken.stderr
    nowhere = export(run, "--out", run / "summary.json" / "data")
    assert nowhere.exit_code == 2 and "summary.json" in nowhere.stderr and "cannot be written" in nowhere.stderr
    path = run / "iterations" / "1" / "synthetic.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    for left in (0, len(lines) - 1):
        path.write_text("".join(lines[:left]))
        cut_off = export(run, "--out", tmp_path / "out")
        told = f"1/synthetic.jsonl: damaged ({left} rows in place of {len(lines)}). Delete the run's summary.json"
        assert cut_off.exit_code == 2 and told in cut_off.stderr
    path.unlink()
    missing = export(run, "--out", tmp_path / "out")
    assert missing.exit_code == 2 and "1/synthetic.jsonl" in missing.stderr and "missing" in missing.stderr
    plain = save_run(tmp_path / "plain", loop={"max_iterations": 0})
    empty = export(plain, "--out", tmp_path / "out")
    assert empty.exit_code == 2 and "no synthetic row was trained on" in empty.stderr
    assert not (tmp_path / "out").exists()
    shutil.rmtree(run / "iterations")
    (run / "summary.json").unlink()
    unfinished = export(run, "--out", tmp_path / "out")
    assert unfinished.exit_code == 2 and "not finished" in unfinished.stderr


def read_rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "data" / "train.jsonl").read_text().splitlines()]


def test_rows_of_an_earlier_run_in_this_folder_are_not_exported(run: Path, tmp_path: Path) -> None:
    """A fork with fewer and smaller iterations publishes into the same folder."""
    assert (run / "iterations" / "2").exists()
    world = ToyWorld(run)
    summary = run_graph(world, loop={"max_iterations": 1}, generation={"share": 0.5})
    publish_run(summary, run, world.store)
    assert sorted(path.name for path in (run / "iterations").iterdir()) == ["0", "1", "untouched"]
    assert export(run, "--out", tmp_path / "out").exit_code == 0
    rows = read_rows(tmp_path / "out")
    assert len(rows) == summary.rows.accepted and {row["iteration"] for row in rows} == {1}


def test_rows_of_an_iteration_that_the_summary_does_not_name_are_not_exported(run: Path, tmp_path: Path) -> None:
    """As earlier versions left them behind."""
    shutil.copytree(run / "iterations" / "1", run / "iterations" / "7", symlinks=True)
    assert export(run, "--out", tmp_path / "out").exit_code == 0
    assert len(read_rows(tmp_path / "out")) == json.loads((run / "summary.json").read_text())["rows"]["accepted"]


def test_real_rows_are_not_passed_off_as_written_by_an_llm(tmp_path: Path) -> None:
    folder = tmp_path / "oracle"
    folder.mkdir()
    spare = make_rows(
        "held", [(f"thing {i} of a {k} kind {7 * i}", k) for i, k in enumerate(["fruit", "tool", "animal"] * 8)]
    )
    world = ToyWorld(folder, memory={"train": TRAIN, "validation": VALIDATION, "test": TEST, "held": spare})
    changes: dict[str, Any] = {
        "data": {"held_back": "memory:held"},
        "generation": {"sources": "held_back", "pattern_share": 0, "near_duplicate_rouge": 1.0},
        "quality": {"enabled": False},
    }
    (folder / "config.yaml").write_text(dump_config(make_settings(**changes)))
    summary = run_graph(world, **changes)
    (model,) = [model for model in summary.models if model.iteration == 1]
    publish_run(summary.model_copy(update={"best_model": model.name, "adapter": model.adapter}), folder, world.store)
    assert export(folder, "--out", tmp_path / "out").exit_code == 0
    rows = read_rows(tmp_path / "out")
    assert rows and {(row["branch"], row["generator"]) for row in rows} == {("held_back", None)}
    card = (tmp_path / "out" / "README.md").read_text()
    writer = make_settings(**changes).models.generator.model
    assert (
        "All are real rows" in card
        and "Real rows: " in card
        and writer not in card
        and "synthetic" not in card.split("## Columns")[0]
    )
    assert f"rows, {model.n_synthetic} of them real ones" in (folder / "best" / "README.md").read_text()
