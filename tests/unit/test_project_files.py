"""Files that other programs read: they name what is there, and check what `make check` checks."""

import json
import re
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


def test_the_image_holds_what_its_command_needs() -> None:
    (command,) = [line for line in DOCKERFILE.splitlines() if line.startswith("CMD ")]
    demo = re.search(r"DEMO_MODELS := (.*)", (ROOT / "Makefile").read_text())
    assert demo and f"pada models pull {demo[1]} && pada run configs/demo.yaml" in command
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
