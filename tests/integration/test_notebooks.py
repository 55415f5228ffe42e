"""The notebooks of docs/notebooks: tidy, and (slow) run from top to bottom with the models of `pada models pull`."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import pada_agent

FOLDER = Path(__file__).parents[2] / "docs" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
_LINK = re.compile(r"\]\((?!https?:)([^)#\s]+)")
_SHELL = re.compile(r"^!(.+)$", re.MULTILINE)
SHELL = "import subprocess as _shell\n"
"""What `!command` becomes outside of Jupyter."""


def read_cells(notebook: Path, kind: str) -> list[str]:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == kind]


def make_program(notebook: Path) -> str:
    code = "\n\n".join(read_cells(notebook, "code"))
    return SHELL + _SHELL.sub(lambda found: f"_shell.run({found[1].split()!r}, check=True)", code)


def test_there_are_notebooks() -> None:
    assert {path.name for path in NOTEBOOKS} >= {"embedding.ipynb", "your_own_data.ipynb"}


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_without_outputs(notebook: Path) -> None:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert code and all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_uses_only_public_names_of_the_package(notebook: Path) -> None:
    tree = ast.parse(make_program(notebook))
    imported = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    ours = [node for node in imported if node.module and node.module.split(".")[0] == "pada_agent"]
    plain = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    assert {node.module for node in ours} == {"pada_agent"}
    assert {alias.name for node in ours for alias in node.names} <= set(pada_agent.__all__)
    assert not [name for name in plain if name.startswith("pada_agent")]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_links_of_a_notebook_lead_somewhere(notebook: Path) -> None:
    targets = [target for text in read_cells(notebook, "markdown") for target in _LINK.findall(text)]
    assert [target for target in targets if not (FOLDER / target).exists()] == []


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_from_top_to_bottom(notebook: Path, tmp_path: Path) -> None:
    place = {**os.environ, "TMPDIR": str(tmp_path), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    program = [sys.executable, "-c", make_program(notebook)]
    done = subprocess.run(program, cwd=FOLDER, env=place, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (summary,) = tmp_path.rglob("summary.json")
    assert json.loads(summary.read_text(encoding="utf-8"))["verdict"] in done.stdout
