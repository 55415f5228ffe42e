"""A text keeps the form in which it is written, wherever it stands in settings."""

from pathlib import Path
from typing import Any

import pytest

from pada_agent.core.config_files import change_config, load_config, parse_config
from pada_agent.core.errors import ConfigError


def write(folder: Path, text: str) -> Path:
    (path := folder / "run.yaml").write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("written", "labels"),
    [
        ("[001, 002, 003]", ["001", "002", "003"]),
        ("[010, 020, 100]", ["010", "020", "100"]),
        ("[1.1, 1.10, 1.2]", ["1.1", "1.10", "1.2"]),
        ("[1e3, 2, 5e-1, F32]", ["1e3", "2", "5e-1", "F32"]),
        ("[+1, -1]", ["+1", "-1"]),
        ("[True, no, 'null']", ["True", "no", "null"]),
    ],
)
def test_labels_in_a_list_are_those_that_are_written(tmp_path: Path, written: str, labels: list[str]) -> None:
    config = load_config(write(tmp_path, f"task: {{labels: {written}}}\n"))
    assert list(config.task.labels) == labels
    for change in (f"task.labels={written}", f"task={{labels: {written}}}"):
        assert change_config(config, [change]).task == config.task


def test_an_empty_name_in_a_list_of_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"task\.labels: .*a name is empty \(null\)"):
        load_config(write(tmp_path, "task: {labels: [null, a]}\n"))
    labels: Any = parse_config({"task": {"labels": [1, 2.5, True]}}, origin="Python").task.labels
    assert list(labels) == ["1", "2.5", "true"]


@pytest.mark.parametrize(
    ("written", "system"),
    [('""', ""), ("null", None), ("~", None), ("NULL", None), ("'null'", "null"), ("none", "none")],
)
def test_an_empty_text_and_null_are_told_apart(tmp_path: Path, written: str, system: str | None) -> None:
    """An empty system message is sent; null keeps the tokenizer's default."""
    assert load_config(write(tmp_path, f"student:\n  system: {written}\n")).student.system == system
    assert load_config(write(tmp_path, ""), [f"student.system={written}"]).student.system == system


def test_a_text_that_is_left_empty_is_null_in_a_file_and_empty_on_the_command_line(tmp_path: Path) -> None:
    assert load_config(write(tmp_path, "student:\n  system:\n")).student.system is None
    assert load_config(write(tmp_path, ""), ["student.system="]).student.system == ""


def test_a_name_that_is_left_empty_is_null(tmp_path: Path) -> None:
    text = "student:\n  revision:\n  chat_template:\nmodels:\n  judge:\n    model: openai:m\n    base_url:\n    region: ''\n"
    config = load_config(write(tmp_path, text), ["models.judge.api_key_env=", "models.judge.service_tier="])
    assert (config.student.revision, config.student.chat_template) == (None, None)
    judge = config.models.judge
    assert {judge.base_url, judge.region, judge.api_key_env, judge.service_tier} == {None}


@pytest.mark.parametrize(
    "key", ["student.system", "student.revision", "models.judge.base_url", "models.judge.region", "task.instruction"]
)
def test_the_word_none_is_no_null(tmp_path: Path, key: str) -> None:
    with pytest.raises(ConfigError, match=rf"{key}: .*the word None is read as a text\. Leave the setting out, or"):
        load_config(write(tmp_path, "models: {judge: {model: openai:m}}\n"), [f"{key}=None"])
    assert load_config(write(tmp_path, "task: {no_answer: None}\n")).task.no_answer == "None"


@pytest.mark.parametrize("key", ["student.system", "task.instruction", "task.description"])
@pytest.mark.parametrize("name", ["system.txt", "prompts/mine.jinja", "../system.MD", "~/system"])
def test_the_name_of_a_file_is_no_text_for_a_model(key: str, name: str) -> None:
    with pytest.raises(ConfigError, match=rf"{key}: .*'{name}' looks like the name of a file"):
        change_config(parse_config({}, origin="x"), [f"{key}={name}"])


@pytest.mark.parametrize(
    "text", ["/no_think", "Answer.", "Answer as in example.txt", "Use ./x", "{{ a }}.txt", "yes/no"]
)
def test_short_texts_for_a_model_are_taken(text: str) -> None:
    assert change_config(parse_config({}, origin="x"), [f"student.system={text}"]).student.system == text


def test_a_prompt_is_given_as_text_or_as_the_file_that_holds_it(tmp_path: Path) -> None:
    template = "Rate {{ rows }}.\n"
    (file := tmp_path / "mine.jinja").write_text(template)
    for value in (template, str(file)):
        config = parse_config({}, origin="x")
        assert change_config(config, [f"prompts.quality_control={value}"]).prompts.quality_control == template
    file.write_text("Rate them.\n")
    for value, told in (
        (str(file), "contains no Jinja template"),
        ("no such.jinja", r"is neither the text of a Jinja template nor a readable file \(No such file or directory\)"),
    ):
        with pytest.raises(ConfigError, match=rf"^--set: prompts\.quality_control: .*{told}"):
            load_config(write(tmp_path, ""), [f"prompts.quality_control={value}"])
    with pytest.raises(ConfigError, match=r"prompts\.quality_control: .*'/etc/hostname' is not a Jinja template"):
        parse_config({"prompts": {"quality_control": "/etc/hostname"}}, origin="a server")


@pytest.mark.parametrize("folder", ["${SCRATCH}/runs", "$HOME/runs", "%TEMP%/runs"])
def test_a_folder_named_by_a_variable_is_not_made(tmp_path: Path, folder: str) -> None:
    with pytest.raises(ConfigError, match=r"^\S*run\.yaml: runs_folder: .*Variables are not replaced in settings"):
        load_config(write(tmp_path, f"runs_folder: '{folder}'\n"))
    assert load_config(write(tmp_path, "runs_folder: /data/5% or $/x\n")).runs_folder == "/data/5% or $/x"
