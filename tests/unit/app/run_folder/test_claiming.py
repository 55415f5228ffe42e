"""Who may use a run's folder: whatever an error says to change can be changed, and nothing is lost by it."""

import errno
import fcntl
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import IO

import pytest

from pada_agent.app.run_folder import claiming, layout
from pada_agent.app.run_folder.claiming import claim_folder
from pada_agent.core.config import BudgetConfig, RunConfig
from pada_agent.core.config_files import parse_config
from pada_agent.core.errors import ArtifactError, ConfigError
from tests.unit.app.claims import claim


def configure(tmp_path: Path, **values: object) -> RunConfig:
    return parse_config({"name": "demo", "runs_folder": str(tmp_path), **values}, origin="test")


def predict(folder: Path) -> None:
    (folder / "objects" / "predict-1").mkdir(parents=True)
    (folder / "objects" / "predict-1" / "predictions.jsonl").write_text("{}\n")


def pay(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "llm_calls.sqlite")) as calls:
        calls.execute("CREATE TABLE calls (key)")
        calls.execute("INSERT INTO calls VALUES ('k')")
        calls.commit()


def step(folder: Path) -> None:
    (folder / "events.jsonl").write_text('{"mode": "updates", "data": {"evaluate_untouched": {}}}\n')


WORK = pytest.mark.parametrize("work", [predict, pay, step])


def test_the_same_settings_may_go_on(tmp_path: Path) -> None:
    config = configure(tmp_path)
    assert claim(config) == (tmp_path / "demo", True, True)
    assert claim(config) == (tmp_path / "demo", False, False)


def test_another_budget_holds_from_now_on(tmp_path: Path) -> None:
    folder = claim(configure(tmp_path)).folder
    predict(folder)
    (folder / "checkpoints.sqlite").write_bytes(b"kept")
    claim(configure(tmp_path, budget={"max_calls": 9}))
    assert layout.load_run_config(folder).budget == BudgetConfig(max_calls=9)
    assert (folder / "checkpoints.sqlite").read_bytes() == b"kept"


def test_a_finished_run_keeps_its_settings_and_names_those_that_differ(tmp_path: Path) -> None:
    folder = claim(configure(tmp_path)).folder
    (folder / "summary.json").write_text("{}")
    claiming.note_error(folder, "an older error")
    with pytest.raises(ConfigError, match=r"loop\.max_iterations, seed, task\.columns\.q differ") as caught:
        claim(configure(tmp_path, seed=1, loop={"max_iterations": 1}, task={"columns": {"q": "a"}}))
    assert "finished" in str(caught.value) and "--out" in str(caught.value)
    with pytest.raises(ConfigError, match="finished"):
        claiming.change_settings(folder, configure(tmp_path), configure(tmp_path, seed=1))


@WORK
def test_an_interrupted_run_keeps_its_settings_and_says_how_to_change_them(
    tmp_path: Path, work: Callable[[Path], None]
) -> None:
    folder = claim(configure(tmp_path)).folder
    work(folder)
    with pytest.raises(ConfigError, match=r"seed differ(.|\n)*pada resume \S+ --set"):
        claim(configure(tmp_path, seed=7))
    assert layout.load_run_config(folder).seed == 0


@WORK
def test_after_an_error_other_settings_start_over_and_find_what_is_finished(
    tmp_path: Path, work: Callable[[Path], None]
) -> None:
    folder = claim(configure(tmp_path)).folder
    work(folder)
    (folder / "checkpoints.sqlite").write_bytes(b"of the old settings")
    before = {
        path: path.read_bytes() for path in folder.rglob("*") if path.name in ("predictions.jsonl", "llm_calls.sqlite")
    }
    claiming.note_error(folder, "the loss became NaN: lower lora.learning_rate")
    assert not claim(configure(tmp_path, seed=7)).is_new
    assert layout.load_run_config(folder).seed == 7
    assert not (folder / "checkpoints.sqlite").exists()
    assert all(path.read_bytes() == content for path, content in before.items())


def test_a_person_may_change_the_settings_of_an_interrupted_run(tmp_path: Path) -> None:
    config, wanted = configure(tmp_path), configure(tmp_path, seed=7)
    folder = claim(config).folder
    predict(folder)
    (folder / "checkpoints.sqlite").write_bytes(b"of the old settings")
    assert claiming.change_settings(folder, config, wanted) == wanted
    assert layout.load_run_config(folder).seed == 7
    assert not (folder / "checkpoints.sqlite").exists() and (folder / "objects" / "predict-1").exists()


def test_a_folder_with_nothing_to_keep_takes_corrected_settings(tmp_path: Path) -> None:
    """A wrong column is found while rows are read: the advice of that error must lead on, in the same folder."""
    folder = claim(configure(tmp_path)).folder
    (folder / "checkpoints.sqlite").write_bytes(b"of the old settings")
    rows = folder / "objects" / "rows-train-1"
    rows.mkdir(parents=True)
    (rows / "rows.jsonl").write_text("{}\n")
    assert claim(configure(tmp_path, seed=7)).folder == folder
    assert layout.load_run_config(folder).seed == 7
    assert not (folder / "checkpoints.sqlite").exists() and not (folder / "objects").exists()


def test_shared_objects_are_other_runs_too_and_stay(tmp_path: Path) -> None:
    shared = tmp_path / "shared" / "objects"
    predict(shared.parent)
    folder = claim(configure(tmp_path)).folder
    (folder / "objects").symlink_to(shared)
    claim(configure(tmp_path, seed=7))
    assert not (folder / "objects").exists() and (shared / "predict-1").exists()


def test_rows_that_were_corrected_are_read_again_after_an_error(tmp_path: Path) -> None:
    train = tmp_path / "train.jsonl"
    train.write_text('{"question": "a"}\n')
    config = configure(tmp_path, data={"train": str(train)})
    folder = claim(config).folder
    predict(folder)
    (folder / "checkpoints.sqlite").write_bytes(b"of the old rows")
    train.write_text('{"question": "b"}\n')
    with pytest.raises(ConfigError, match=r"the rows in \S*train.jsonl differ"):
        claim(config)
    claiming.note_error(folder, "train.jsonl:1: drop the row")
    claim(config)
    assert not (folder / "checkpoints.sqlite").exists()
    assert claim(config).folder == folder


def test_a_claim_without_work_is_taken_back(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such column"), claim_folder(configure(tmp_path)) as found:
        claiming.note_error(found.folder, "no such column")
        raise ConfigError("no such column")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("makes", [None, predict], ids=["was there", "has work"])
def test_a_claim_is_not_taken_back_from_a_run_that_was_there_or_has_work(
    tmp_path: Path, makes: Callable[[Path], None] | None
) -> None:
    if makes is None:
        claim(configure(tmp_path))
    with pytest.raises(ConfigError, match="no key"), claim_folder(configure(tmp_path)) as found:
        if makes is not None:
            makes(found.folder)
        raise ConfigError("no key")
    assert layout.load_run_config(tmp_path / "demo")


@pytest.mark.parametrize("settings", [{}, {"seed": 7}, {"budget": {"max_calls": 9}}], ids=str)
def test_a_new_run_is_left_alone_by_another_process_that_starts_it_too(
    tmp_path: Path, settings: dict[str, object]
) -> None:
    with claim_folder(configure(tmp_path)) as found:
        before = {path: path.read_bytes() for path in found.folder.iterdir()}
        with pytest.raises(ArtifactError, match="another pada process is working on this run"):
            claim(configure(tmp_path, **settings))
        assert {path: path.read_bytes() for path in found.folder.iterdir()} == before


def test_a_process_that_waited_for_a_run_that_was_taken_back_has_the_only_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It opened the lock before that run removed it."""
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / ".lock").touch()
    flock = fcntl.flock

    def lock_late(file: IO[str], operation: int) -> None:
        monkeypatch.setattr("fcntl.flock", flock)
        (tmp_path / "demo" / ".lock").unlink()
        flock(file, operation)

    monkeypatch.setattr("fcntl.flock", lock_late)
    with claim_folder(configure(tmp_path)), pytest.raises(ArtifactError, match="another pada process"):
        claim(configure(tmp_path))


@pytest.mark.parametrize("is_link", [True, False], ids=["link", "folder"])
def test_a_folder_that_was_there_before_stays(tmp_path: Path, is_link: bool) -> None:
    place = tmp_path / "bigdisk" if is_link else tmp_path / "demo"
    place.mkdir()
    if is_link:
        (tmp_path / "demo").symlink_to(place)
    with pytest.raises(ConfigError), claim_folder(configure(tmp_path)) as found:
        assert (found.is_new, found.is_made) == (True, False)
        raise ConfigError("no such column")
    assert (tmp_path / "demo").is_dir() and list(place.iterdir()) == []


@pytest.mark.parametrize("copied", [True, False])
def test_a_run_that_was_moved_or_copied_does_not_go_on_in_its_old_folder(tmp_path: Path, copied: bool) -> None:
    folder = claim(configure(tmp_path / "runs")).folder
    predict(folder)
    claiming.note_error(folder, "the disk is full")
    shutil.copytree(folder, tmp_path / "big" / "demo")
    if not copied:
        shutil.rmtree(folder)
    with pytest.raises(ArtifactError, match=f"big/demo: according to its settings this run belongs at {folder}"):
        claim(configure(tmp_path / "big"))
    claim(configure(tmp_path / "big", seed=7))  # which starts over, there
    assert layout.load_run_config(tmp_path / "big" / "demo").runs_folder == str(tmp_path / "big")
    assert folder.exists() is copied


def test_a_finished_run_is_shown_from_where_it_lies(tmp_path: Path) -> None:
    folder = claim(configure(tmp_path / "runs")).folder
    (folder / "summary.json").write_text("{}")
    shutil.move(tmp_path / "runs", tmp_path / "big")
    assert not claim(configure(tmp_path / "big")).is_new


def test_another_process_is_left_alone(tmp_path: Path) -> None:
    folder = claim(configure(tmp_path)).folder
    with layout.locked(folder), pytest.raises(ArtifactError, match="another pada process"):
        claim(configure(tmp_path, seed=7))
    assert layout.load_run_config(folder).seed == 0


def test_a_folder_with_other_things_is_refused(tmp_path: Path) -> None:
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "manifest.json").write_text("x")
    for name in ("thesis.tex", ".lock"):
        (tmp_path / "demo" / name).write_text("x")
        with pytest.raises(ConfigError, match="not a run folder"):
            claim(configure(tmp_path))
    assert {path.read_text() for path in (tmp_path / "demo").iterdir()} == {"x"}
    assert len(list((tmp_path / "demo").iterdir())) == 3


def test_a_place_that_cannot_be_made_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ArtifactError, match=r"cannot be created \(Not a directory\)\. Choose another --out"):
        claim(configure(tmp_path / "file"))


def test_a_place_that_belongs_to_somebody_else_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    told = (
        r"\(Permission denied\)\. Change the owner or permissions of the folder that it is in, or choose another --out"
    )
    with pytest.raises(ArtifactError, match=told):
        claim(configure(tmp_path))


def test_an_error_that_cannot_be_noted_is_still_the_one_that_is_told(tmp_path: Path) -> None:
    (tmp_path / claiming.ERROR).mkdir()
    claiming.note_error(tmp_path, "the real error")


def test_a_folder_whose_records_cannot_be_written_is_not_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(ArtifactError, match=r"the disk is full\. Free some space, then run the same command again"):
        claim(configure(tmp_path))
    assert list(tmp_path.iterdir()) == []


MODELS = pytest.mark.parametrize("key", ["student.model", "models.embedder", "models.judge.model"])


def make_models(tmp_path: Path) -> dict[str, Path]:
    """Weights of a student and an embedder, and the file of a teacher, by the setting that names them."""
    weights = {
        "student.model": tmp_path / "student" / "model.safetensors",
        "models.embedder": tmp_path / "embedder" / "0_Transformer" / "model.safetensors",
        "models.judge.model": tmp_path / "teacher.gguf",
    }
    for path in weights.values():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"old weights")
    return weights


def use_models(tmp_path: Path) -> RunConfig:
    judge = {"model": f"local:{tmp_path / 'teacher.gguf'}"}
    models = {"embedder": str(tmp_path / "embedder"), "judge": judge}
    return configure(tmp_path, student={"model": str(tmp_path / "student")}, models=models)


@MODELS
def test_a_finished_run_is_not_that_of_a_model_trained_again_under_its_path(tmp_path: Path, key: str) -> None:
    weights, config = make_models(tmp_path), use_models(tmp_path)
    folder = claim(config).folder
    (folder / "summary.json").write_text("{}")
    assert not claim(config).is_new
    weights[key].write_bytes(b"new weights")
    with pytest.raises(ConfigError, match=rf"finished run with other settings \(the files of {key} differ\)"):
        claim(config)


@MODELS
def test_an_unfinished_run_does_not_go_on_with_another_model(tmp_path: Path, key: str) -> None:
    weights, config = make_models(tmp_path), use_models(tmp_path)
    folder = claim(config).folder
    predict(folder)
    claiming.check_models(folder, config)
    weights[key].write_bytes(b"new weights")
    for go_on in (claim, lambda config: claiming.check_models(folder, config)):
        with pytest.raises(ConfigError, match=rf"the files of {key} have changed since this run was started\. Put the"):
            go_on(config)
    weights[key].write_bytes(b"old weights")
    claiming.check_models(folder, config)


def test_after_an_error_a_run_starts_over_with_a_corrected_student_but_not_with_another_embedder(
    tmp_path: Path,
) -> None:
    weights, config = make_models(tmp_path), use_models(tmp_path)
    folder = claim(config).folder
    predict(folder)
    claiming.note_error(folder, "the student has no tokenizer")
    (folder / "checkpoints.sqlite").write_bytes(b"")
    weights["student.model"].with_name("tokenizer.json").write_text("{}")
    claiming.check_models(folder, config)
    assert not (folder / "checkpoints.sqlite").exists()
    assert (folder / "objects" / "predict-1").exists()
    weights["models.embedder"].write_bytes(b"new weights")
    with pytest.raises(ConfigError, match=r"the files of models\.embedder have changed"):
        claiming.change_settings(folder, config, config.model_copy(update={"seed": 1}))


def test_a_copy_of_the_same_model_is_the_same_and_an_older_run_knows_no_files(tmp_path: Path) -> None:
    weights, config = make_models(tmp_path), use_models(tmp_path)
    folder = claim(config).folder
    (folder / "summary.json").write_text("{}")
    os.utime(weights["student.model"], (1, 1))
    assert not claim(config).is_new
    manifest = layout.Manifest.model_validate_json((folder / "manifest.json").read_bytes())
    (folder / "manifest.json").write_text(manifest.model_dump_json(exclude={"files_of_models"}))
    weights["student.model"].write_bytes(b"new weights")
    assert not claim(config).is_new


@pytest.mark.parametrize("changes", [{"name": "other"}, {"runs_folder": "elsewhere"}, {"name": "other", "seed": 7}])
def test_a_run_cannot_be_given_another_folder_where_nothing_of_it_lies(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    config = configure(tmp_path)
    folder = claim(config).folder
    pay(folder)
    with pytest.raises(ConfigError, match=r"(name|runs_folder) cannot be changed"):
        claiming.change_settings(folder, config, config.model_copy(update=changes))
    assert layout.load_run_config(folder) == config
