"""The wheel and the source archive, and a project with an `agents` package of its own that uses the wheel."""

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PROJECT = """
import agents
import pada_agent
from pathlib import Path
from pada_agent import build_graph
from tests.toy_world import ToyWorld, make_settings

assert agents.__file__ == str(Path("agents/__init__.py").resolve()), agents.__file__
assert Path(pada_agent.__file__).is_relative_to(Path("installed").resolve()), pada_agent.__file__
from pada_agent.agents.quality_control.acceptance import decide
assert Path(decide.__code__.co_filename).is_relative_to(Path("installed").resolve())
graph = build_graph(ToyWorld(Path("run")).connect).compile()
summary = graph.invoke({}, context=make_settings(loop={"max_iterations": 1}))["summary"]
assert "generalization_branch" in build_graph().compile().get_graph().nodes
from pada_agent.app.report.document import write_report
assert "<script>" in write_report(summary, Path("run")).read_text()
print(agents.GREETING, len(summary.models))
"""


def copy_sources(target: Path) -> Path:
    """The files under version control, links as links: what a release is built from."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target / name, follow_symlinks=False)
    return target


def build(source: Path, target: Path, kind: str) -> Path:
    """Build without a network: with the setuptools that is installed."""
    code = f"from setuptools.build_meta import build_{kind}; build_{kind}({str(target)!r})"
    subprocess.run([sys.executable, "-c", code], cwd=source, check=True, stdout=subprocess.DEVNULL)
    return next(target.glob("*.whl" if kind == "wheel" else "*.tar.gz"))


def test_a_project_with_its_own_agents_package_runs_the_installed_wheel(tmp_path: Path) -> None:
    source, project = copy_sources(tmp_path / "source"), tmp_path / "project"
    sdist = build(source, tmp_path, "sdist")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    wheel = build(next((tmp_path / "unpacked").iterdir()), tmp_path, "wheel")
    (project / "agents").mkdir(parents=True)
    (project / "agents" / "__init__.py").write_text('GREETING = "ours"\n')
    (project / "main.py").write_text(PROJECT)
    shutil.copytree(ROOT / "tests", project / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*install, "--target", str(project / "installed"), str(wheel)], check=True)
    environment = {**os.environ, "PYTHONPATH": str(project / "installed")}
    ran = subprocess.run([sys.executable, "main.py"], cwd=project, env=environment, capture_output=True, text=True)
    assert ran.stdout.strip() == "ours 3", ran.stderr
