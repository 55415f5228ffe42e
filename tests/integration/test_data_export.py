"""The synthetic rows of a real toy run, loaded by the library that others use."""

import json
import re
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from pada_agent.app.cli import app


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
    for path in (run / "iterations").glob("[0-9]*/synthetic.jsonl"):
        path.write_text("")
    emptied = export(run, "--out", tmp_path / "out")
    assert emptied.exit_code == 2 and "1/synthetic.jsonl" in emptied.stderr and "damaged" in emptied.stderr
    summary = (run / "summary.json").read_text()
    (run / "summary.json").write_text(re.sub(r'"n_synthetic": ?[0-9]+', '"n_synthetic": 0', summary))
    empty = export(run, "--out", tmp_path / "out")
    assert empty.exit_code == 2 and "no synthetic row was trained on" in empty.stderr
    assert not (tmp_path / "out").exists()
    shutil.rmtree(run / "iterations")
    (run / "summary.json").unlink()
    unfinished = export(run, "--out", tmp_path / "out")
    assert unfinished.exit_code == 2 and "not finished" in unfinished.stderr
