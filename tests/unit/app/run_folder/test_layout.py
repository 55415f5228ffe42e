import errno
import json
import os
import re
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from unittest.mock import Mock

import pytest

from pada_agent.app.run_folder import layout, versions
from pada_agent.core.config import RunConfig
from pada_agent.core.config_files import parse_config
from pada_agent.core.errors import ArtifactError, ConfigError
from pada_agent.core.records import Ref
from tests.unit.app.claims import claim
from tests.unit.app.summaries import make_summary


def configure(tmp_path: Path, **values: object) -> RunConfig:
    return parse_config({"name": "demo", "runs_folder": str(tmp_path), **values}, origin="test")


def test_a_new_folder_gets_settings_and_manifest(tmp_path: Path) -> None:
    data = tmp_path / "train.jsonl"
    data.write_text("{}")
    config = configure(tmp_path / "runs", data={"train": str(data), "validation": "hub:a/b/c"})
    folder = claim(config).folder
    assert folder == tmp_path / "runs" / "demo"
    assert layout.load_run_config(folder) == config
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["data_sha256"] == {str(data): "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"}
    assert manifest["packages"]["langgraph"]
    assert manifest["working_folder"] == str(Path.cwd())


def test_a_folder_without_a_run_says_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="not a run folder"):
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
    folder = claim(config).folder
    layout.check_place(folder, config)
    moved = folder.rename(tmp_path / "elsewhere")
    with pytest.raises(ArtifactError, match="settings this run belongs at"):
        layout.check_place(moved, config)


def test_a_run_is_resumed_from_the_folder_that_it_was_started_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my work").mkdir()
    monkeypatch.chdir(tmp_path / "my work")
    config = parse_config({"name": "demo"}, origin="test")
    folder = claim(config).folder
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ArtifactError) as caught:
        layout.check_place("my work" / folder, config)
    told = "its settings are relative to the folder that it was started in"
    assert str(caught.value) == f"my work/runs/demo: {told}: cd '{tmp_path}/my work' && pada resume runs/demo"
    (tmp_path / "my work" / folder / "manifest.json").write_text("{")
    with pytest.raises(
        ArtifactError, match=rf"belongs at runs/demo, relative to {tmp_path}\. Move it back to resume it"
    ):
        layout.check_place("my work" / folder, config)


@pytest.mark.parametrize(
    ("settings", "made"),
    [
        ({"student": {"model": "models/mine"}}, "start/models/mine"),
        ({"student": {"model": "models/mine"}}, "other/models/mine"),  # a hub model where it was started
        ({"data": {"train": "rows.jsonl[:5]"}}, "start/rows.jsonl"),
        ({"task": {"name": "sql", "database": "shop.sqlite"}}, "start/shop.sqlite"),
        ({"models": {"embedder": "encoder"}}, "start/encoder"),
        ({"models": {"analyst": {"model": "local:teacher.gguf"}}}, "start/teacher.gguf"),
    ],
    ids=str,
)
def test_relative_paths_in_settings_are_those_of_the_folder_that_a_run_was_started_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, object], made: str
) -> None:
    for name in ("start", "other", made):
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(tmp_path / "start")
    config = configure(tmp_path / "runs", **settings)
    folder = claim(config).folder
    layout.check_place(folder, config)
    monkeypatch.chdir(tmp_path / "other")
    told = f"{folder}: its settings are relative to the folder that it was started in: cd {tmp_path}/start && pada resume {folder}"
    with pytest.raises(ArtifactError, match=f"^{re.escape(told)}$"):
        layout.check_place(folder, config)


def test_without_relative_paths_a_run_is_resumed_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("start", "start/models", "other"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "start")
    values = {"student": {"model": str(tmp_path / "start/models")}, "data": {"train": "hub:owner/name/train"}}
    config = configure(tmp_path / "runs", **values)
    folder = claim(config).folder
    monkeypatch.chdir(tmp_path / "other")
    layout.check_place(folder, config)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "samefile", Mock(side_effect=PermissionError(13, "Permission denied")))
        layout.check_place(folder, config)  # started by another user, in a folder that may not be searched


def test_what_a_setting_names_is_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "start" / "models").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "start")
    folder = claim(configure(tmp_path)).folder
    monkeypatch.chdir(tmp_path)
    assert layout.locate(folder, "models") == str(tmp_path / "start" / "models")
    assert layout.locate(folder, "owner/name") == "owner/name"
    (tmp_path / "start" / "smollm2-135m-instruct").mkdir()
    assert layout.locate(folder, "smollm2-135m-instruct") == "smollm2-135m-instruct"  # a name of the catalog


def test_a_summary_is_read_or_its_absence_explained(tmp_path: Path) -> None:
    for read in (layout.load_summary, layout.load_run_config):
        with pytest.raises(ArtifactError, match=r"none: no such folder \(in .*\). `pada run CONFIG` starts"):
            read(tmp_path / "none")
        with pytest.raises(ArtifactError, match="not a run folder"):
            read(tmp_path)
        (tmp_path / "c.yaml").write_text("")
        with pytest.raises(ArtifactError, match=r"c\.yaml: is a file, not a run folder"):
            read(tmp_path / "c.yaml")
    (tmp_path / "config.yaml").write_text("")
    with pytest.raises(ArtifactError, match=r"not finished. Continue with: pada resume"):
        layout.load_summary(tmp_path)
    (tmp_path / "summary.json").write_text(make_summary().model_dump_json())
    assert layout.load_summary(tmp_path) == make_summary()
    (tmp_path / "summary.json").write_text("{")
    with pytest.raises(ArtifactError, match="damaged"):
        layout.load_summary(tmp_path)


def make_older(folder: Path) -> None:
    """Make the run one of a version that recorded no commit."""
    manifest = json.loads((folder / "manifest.json").read_text()) | {"started_at": "2026-01-02T03:04:05+00:00"}
    del manifest["commit"]
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_what_another_version_wrote_is_not_called_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "find_commit", lambda: "c" * 40)
    monkeypatch.setattr(layout, "find_commit", lambda: "b" * 40)
    folder = claim(configure(tmp_path)).folder
    summary = make_summary().model_dump(mode="json")
    summary["conclusion"] = summary.pop("verdict")
    (folder / "summary.json").write_text(json.dumps(summary))
    (folder / "report.html").write_text("")
    here = version("pada-agent")
    told = (
        f"{folder}/summary.json: does not fit this version (verdict: Field required). It was written by another version of"
        f" pada-agent ({here}, commit bbbbbbbbbbbb; this is {here}, commit cccccccccccc). Its report.html can be read without"
        f" it. Use that version: pip install git+https://github.com/pada-agent/pada-agent@{'b' * 40}"
    )
    with pytest.raises(ArtifactError, match=f"^{re.escape(told)}$"):
        layout.load_summary(folder)
    make_older(folder)
    with pytest.raises(ArtifactError, match=r", of a run of 2026-01-02; this is .*Use that version\.$") as caught:
        layout.load_summary(folder)
    assert "elete" not in str(caught.value)
    (folder / "summary.json").write_text("{")
    with pytest.raises(ArtifactError, match=r"damaged \(.*\)\. Delete it, then: pada resume"):
        layout.load_summary(folder)


def test_settings_of_another_version_are_not_to_be_restored(tmp_path: Path) -> None:
    folder = claim(configure(tmp_path)).folder
    text = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(text + "older: 1\n")
    with pytest.raises(ConfigError, match=r"older: there is no such setting.*\nRestore the settings"):
        layout.load_run_config(folder)
    make_older(folder)
    with pytest.raises(
        ConfigError, match=r"older: there is no such setting.*\nIt was written by another version"
    ) as caught:
        layout.load_run_config(folder)
    assert "estore" not in str(caught.value)
    (folder / "config.yaml").write_text(text + "- {")
    with pytest.raises(ConfigError, match=r"not valid YAML(.|\n)*Restore the settings"):
        layout.load_run_config(folder)
    (folder / "config.yaml").write_text(text + "older: 1\n")
    (folder / "manifest.json").unlink()  # and with it, who wrote it
    with pytest.raises(ConfigError, match=r"older: there is no such setting.*\nRestore the settings"):
        layout.load_run_config(folder)


def test_lines_of_another_version_are_not_called_damaged(tmp_path: Path) -> None:
    folder = claim(configure(tmp_path)).folder
    path = folder / "iterations" / "1" / "synthetic.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text('{"older": 1}\n')
    with pytest.raises(ArtifactError, match=r"damaged \(line 1: .*Delete the run's summary\.json"):
        layout.read_lines(path, Ref)
    make_older(folder)
    with pytest.raises(ArtifactError, match=r"line 1 does not fit this version \(.*It was written by another version"):
        layout.read_lines(path, Ref)
    path.write_text('{"older"\n')
    with pytest.raises(ArtifactError, match=r"damaged \(line 1: .*Delete the run's summary\.json"):
        layout.read_lines(path, Ref)


@pytest.mark.parametrize("read", [layout.load_run_config, layout.load_summary, layout.is_finished])
def test_a_folder_of_somebody_else_is_one_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Callable[[Path], object]
) -> None:
    claim(configure(tmp_path))

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "stat", refuse)
    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(ArtifactError, match=r"demo/\w+\.\w+: cannot be read \(Permission denied\)\. Check"):
        read(tmp_path / "demo")


def test_settings_that_may_not_be_read_need_no_other_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = claim(configure(tmp_path)).folder

    def refuse(_: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(ArtifactError, match=r"config\.yaml: cannot be read \(Permission denied\)\. Check") as caught:
        layout.load_run_config(folder)
    assert "estore" not in str(caught.value)


def test_commands_in_messages_are_for_a_shell(tmp_path: Path) -> None:
    folder = claim(configure(tmp_path / "My Drive")).folder
    assert layout.word_resume(folder) == f"pada resume '{folder}'"
    with pytest.raises(ArtifactError, match=f"Continue with: pada resume '{folder}'$"):
        layout.load_summary(folder)
    (folder / "summary.json").write_text("{}")
    with pytest.raises(ConfigError, match=f"pada report '{folder}'"):
        claim(configure(tmp_path / "My Drive", seed=1))


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_one_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", fail)
    told = rf"{tmp_path}: its file system cannot lock files \({os.strerror(number)}\)\. Choose a folder on another one"
    with pytest.raises(ArtifactError, match=told):
        layout.locked(tmp_path).__enter__()
    with pytest.raises(ArtifactError, match=told):
        layout.try_lock(tmp_path)


def test_a_folder_that_cannot_be_written_to_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / ".lock").mkdir()
    with pytest.raises(ArtifactError, match=r"cannot be written to \(Is a directory\)"):
        layout.locked(tmp_path).__enter__()


def test_rows_that_nobody_can_reach_are_left_to_whoever_reads_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder of a user who does not exist, and a file that may not be opened."""
    (tmp_path / "rows.jsonl").write_text("{}\n")
    data = {"train": "~nobody-of-that-name/rows.jsonl", "validation": str(tmp_path / "rows.jsonl")}
    config = parse_config({"data": data}, origin="test")
    assert list(layout.hash_data(config)) == [data["validation"]]

    def refuse(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(layout, "hash_file", refuse)
    assert layout.hash_data(config) == {}


def test_a_folder_of_runs_names_one_of_them_and_their_table(tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text("")
    told = f"{tmp_path}: holds 2 runs. Name one of them, such as {tmp_path}/a."
    with pytest.raises(ArtifactError, match=f"^{re.escape(told)}$"):
        layout.load_run_config(tmp_path)
    (tmp_path / "results.md").write_text("")
    with pytest.raises(ArtifactError, match=re.escape(f"{told} Their table is in its results.md.")):
        layout.load_summary(tmp_path)
