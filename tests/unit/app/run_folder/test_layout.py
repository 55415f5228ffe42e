import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from pada_agent.app.run_folder import layout
from pada_agent.core.config import RunConfig
from pada_agent.core.config_files import parse_config
from pada_agent.core.errors import ArtifactError, ConfigError
from tests.unit.app.summaries import make_summary


def configure(tmp_path: Path, **values: object) -> RunConfig:
    return parse_config({"name": "demo", "runs_folder": str(tmp_path), **values}, origin="test")


def test_a_new_folder_gets_settings_and_manifest(tmp_path: Path) -> None:
    data = tmp_path / "train.jsonl"
    data.write_text("{}")
    config = configure(tmp_path / "runs", data={"train": str(data), "validation": "hub:a/b/c"})
    folder = layout.claim_folder(config)
    assert folder == tmp_path / "runs" / "demo"
    assert layout.load_run_config(folder) == config
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["data_sha256"] == {str(data): "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"}
    assert manifest["packages"]["langgraph"]
    assert manifest["working_folder"] == str(Path.cwd())


def test_the_same_settings_may_go_on(tmp_path: Path) -> None:
    config = configure(tmp_path)
    assert layout.claim_folder(config) == layout.claim_folder(config)


def test_other_settings_are_refused_with_the_keys_that_differ(tmp_path: Path) -> None:
    folder = layout.claim_folder(configure(tmp_path))
    (folder / "summary.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"loop\.max_iterations, seed, task\.columns\.q differ") as caught:
        layout.claim_folder(configure(tmp_path, seed=1, loop={"max_iterations": 1}, task={"columns": {"q": "a"}}))
    assert f"pada resume {tmp_path / 'demo'}" in str(caught.value)
    assert "--out" in str(caught.value)


def test_a_folder_with_other_things_is_refused(tmp_path: Path) -> None:
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "thesis.tex").write_text("x")
    with pytest.raises(ConfigError, match="not a run's folder"):
        layout.claim_folder(configure(tmp_path))


def test_a_place_that_cannot_be_made_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ArtifactError, match="cannot be made"):
        layout.claim_folder(configure(tmp_path / "file"))


def test_a_folder_without_a_run_says_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="not a run's folder"):
        layout.load_run_config(tmp_path)


def test_two_processes_do_not_share_a_run(tmp_path: Path) -> None:
    with layout.locked(tmp_path):
        second = layout.locked(tmp_path)
        with pytest.raises(ArtifactError, match="another pada process"):
            second.__enter__()
    with layout.locked(tmp_path):
        pass


def test_a_moved_run_does_not_go_on(tmp_path: Path) -> None:
    config = configure(tmp_path)
    folder = layout.claim_folder(config)
    layout.check_place(folder, config)
    moved = folder.rename(tmp_path / "elsewhere")
    with pytest.raises(ArtifactError, match="settings place this run at"):
        layout.check_place(moved, config)


def test_a_summary_is_read_or_its_absence_explained(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"not finished. Go on with: pada resume"):
        layout.load_summary(tmp_path)
    (tmp_path / "summary.json").write_text(make_summary().model_dump_json())
    assert layout.load_summary(tmp_path) == make_summary()
    (tmp_path / "summary.json").write_text("{")
    with pytest.raises(ArtifactError, match="damaged"):
        layout.load_summary(tmp_path)


def test_a_folder_with_nothing_to_keep_takes_corrected_settings(tmp_path: Path) -> None:
    """A wrong column is found while rows are read: the advice of that error must lead on, in the same folder."""
    config = RunConfig(name="r", runs_folder=str(tmp_path))
    folder = layout.claim_folder(config)
    (folder / "checkpoints.sqlite").write_bytes(b"of the old settings")
    rows = folder / "objects" / "rows-train-1"
    rows.mkdir(parents=True)
    (rows / "rows.jsonl").write_text("{}\n")
    corrected = config.model_copy(update={"seed": 7})
    assert layout.claim_folder(corrected) == folder
    assert layout.load_run_config(folder).seed == 7
    assert not (folder / "checkpoints.sqlite").exists() and not (folder / "objects").exists()


@pytest.mark.parametrize("kept", ["a prediction", "an answer"])
def test_a_folder_with_something_computed_or_paid_for_keeps_its_settings(tmp_path: Path, kept: str) -> None:
    config = RunConfig(name="r", runs_folder=str(tmp_path))
    folder = layout.claim_folder(config)
    if kept == "a prediction":
        (folder / "objects" / "predict-1").mkdir(parents=True)
        (folder / "objects" / "predict-1" / "predictions.jsonl").write_text("{}\n")
    else:
        with closing(sqlite3.connect(folder / "llm_calls.sqlite")) as calls:
            calls.execute("CREATE TABLE calls (key)")
            calls.execute("INSERT INTO calls VALUES ('k')")
            calls.commit()
    with pytest.raises(ConfigError, match="holds a run with other settings"):
        layout.claim_folder(config.model_copy(update={"seed": 7}))
    assert layout.load_run_config(folder).seed == 0
