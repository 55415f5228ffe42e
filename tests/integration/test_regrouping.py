"""`pada report --embedder`: a finished run's errors, grouped again by another embedder."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pada_agent.app.cli import app
from pada_agent.app.report import regrouping
from pada_agent.core.ports import Embedder
from pada_agent.core.records import ErrorAnalysis, FailureTraits
from tests.integration.graph_runs import save_run
from tests.toy_world import WordCountEmbedder

CAUSES = ("overlooked the amount in the message", "took a refund for a return", "left out the unit")


def load(name: str) -> Embedder:
    del name
    return WordCountEmbedder()


def test_another_embedder_joins_the_table_and_stays_there(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(regrouping, "load_embedder", load)
    name = "<b>other</b>"
    result = CliRunner().invoke(app, ["report", str(run), "--embedder", name])
    assert result.exit_code == 0, result.output
    summary = json.loads((run / "summary.json").read_text())
    for found in summary["patterns"]:
        again = json.loads((run / "iterations" / str(found["iteration"]) / "grouping.json").read_text())
        measured = found["sensitivity"]
        assert again["by_number"] == measured["by_number"], "the run's own grouping is found again"
        assert [row["embedder"] for row in again["by_embedder"]] == [measured["by_embedder"][0]["embedder"], name]
        assert again["by_embedder"][1]["agreement"] == 1.0


def test_the_report_shows_the_other_embedder_also_when_it_is_written_again(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(regrouping, "load_embedder", load)
    errors = [
        ErrorAnalysis(
            example_id=f"v{n}",
            error_cause=f"{CAUSES[n % 3]} {n}",
            scenario_category=f"case {n % 3}",
            traits=FailureTraits(question=f"question {n}"),
        )
        for n in range(12)
    ]
    path = run / "iterations" / "1" / "error_analyses.jsonl"
    path.write_text("".join(error.model_dump_json() + "\n" for error in errors))
    for arguments in (["--embedder", "<b>other</b>"], []):
        assert CliRunner().invoke(app, ["report", str(run), *arguments]).exit_code == 0
        page = (run / "report.html").read_text()
        assert "&lt;b&gt;other&lt;/b&gt;" in page and "<b>other</b>" not in page
        assert "all-mpnet-base-v2 *" in page and "words (TF-IDF + SVD)" in page


def test_what_cannot_be_grouped_again_is_one_clear_error(run: Path, tmp_path: Path) -> None:
    unknown = CliRunner().invoke(app, ["report", str(run), "--embedder", "no-such-model"])
    assert unknown.exit_code == 2 and "no-such-model" in unknown.stderr
    plain = save_run(tmp_path / "plain", loop={"max_iterations": 0})
    empty = CliRunner().invoke(app, ["report", str(plain), "--embedder", "no-such-model"])
    assert empty.exit_code == 2 and "no errors were analyzed" in empty.stderr


def test_only_the_iterations_of_the_summary_are_grouped_again(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others were left behind by an earlier run in this folder."""
    monkeypatch.setattr(regrouping, "load_embedder", load)
    shutil.copytree(run / "iterations" / "1", run / "iterations" / "7")
    assert CliRunner().invoke(app, ["report", str(run), "--embedder", "other"]).exit_code == 0
    assert (run / "iterations" / "1" / "grouping.json").exists()
    assert not (run / "iterations" / "7" / "grouping.json").exists()
    (run / "iterations" / "1" / "error_analyses.jsonl").unlink()
    missing = CliRunner().invoke(app, ["report", str(run), "--embedder", "other"])
    assert missing.exit_code == 2 and "1/error_analyses.jsonl: missing" in missing.stderr


def test_a_damaged_table_is_named(run: Path) -> None:
    (run / "iterations" / "1" / "grouping.json").write_text("{")
    result = CliRunner().invoke(app, ["report", str(run)])
    assert result.exit_code == 2 and "grouping.json: damaged" in result.stderr
