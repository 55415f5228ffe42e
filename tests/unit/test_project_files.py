"""Files that other programs read: they name what is there, and check what `make check` checks."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")


def read(name: str) -> Any:
    text = (ROOT / name).read_text()
    return json.loads(text) if name.endswith(".json") else yaml.safe_load(text)


def test_the_image_runs_as_an_ordinary_user_and_installs_what_is_pinned() -> None:
    lines = DOCKERFILE.splitlines()
    assert [line for line in lines if line.startswith("USER ")] == ["USER pada"]
    installs = [line for line in lines if "pip install" in line]
    assert len(installs) == 2 and all("-c constraints.txt" in line for line in installs)
    torch = re.search(r"^torch==(\S+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert torch and f"torch=={torch[1]}" in DOCKERFILE


def read_instruction(name: str) -> list[str]:
    (line,) = [line for line in DOCKERFILE.splitlines() if line.startswith(f"{name} ")]
    words: list[str] = json.loads(line.removeprefix(name))
    return words


FAKE_PADA = """#!/bin/sh
echo "$@" >> "$CALLS"
[ "$1" = run ] || exit 0
trap 'kill $!; exit 7' TERM
sleep 60 &
echo started
wait
"""


def test_the_image_runs_the_demo_and_signals_reach_it(tmp_path: Path) -> None:
    """The command's own process is what the init passes signals to."""
    (tmp_path / "pada").write_text(FAKE_PADA)
    (tmp_path / "pada").chmod(0o755)
    calls = tmp_path / "calls"
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "CALLS": str(calls)}
    process = subprocess.Popen(read_instruction("CMD"), env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    with process, process.stdout:
        assert process.stdout.readline() == "started\n"
        process.terminate()
        assert process.wait(timeout=20) == 7, "pada has ended the container, not the shell"
    demo = re.search(r"DEMO_MODELS := (.*)", (ROOT / "Makefile").read_text())
    assert demo and calls.read_text() == f"models pull {demo[1]}\nrun configs/demo.yaml\n"


def test_an_init_is_the_first_process_of_the_image() -> None:
    assert read_instruction("ENTRYPOINT") == ["tini", "--"]
    assert re.search(r"apt-get install [^&]* tini\b", DOCKERFILE)


def test_the_image_holds_what_its_command_needs() -> None:
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert not {"configs", "examples", "constraints.txt", "prompts"} & set(ignored)


def test_pre_commit_checks_what_make_check_checks() -> None:
    hooks = read(".pre-commit-config.yaml")["repos"][0]["hooks"]
    recipe = (ROOT / "Makefile").read_text().split("check: $(STAMP)\n")[1].split("\n\n")[0]
    commands = [line.strip().replace("$(BIN)", ".venv/bin").removesuffix(" .") for line in recipe.splitlines()]
    assert [hook["entry"] for hook in hooks] == commands


@pytest.mark.parametrize("name", ["bug", "idea"])
def test_issue_forms_ask_for_something(name: str) -> None:
    form = read(f".github/ISSUE_TEMPLATE/{name}.yml")
    assert form["name"] and form["description"]
    assert [part["id"] for part in form["body"] if part.get("validations", {}).get("required")]


def test_the_workflow_and_the_container_run_commands_that_exist() -> None:
    workflow = read(".github/workflows/ci.yml")
    runs = [step["run"] for step in workflow["jobs"]["all"]["steps"] if "run" in step]
    assert runs == [".ci/run"] and (ROOT / ".ci/run").is_file()
    assert read(".devcontainer/devcontainer.json")["postCreateCommand"] == "make test"
