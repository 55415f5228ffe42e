"""One part of each kind from another package: the very package of docs/how-it-works/where-do-i-add.md, installed and run with."""

import importlib
import json
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import pada_agent
from pada_agent.app import wiring
from pada_agent.app.adapters.compute.backends import open_compute
from pada_agent.app.experiment.grid import load_grid
from pada_agent.app.experiment.methods import apply_settings
from pada_agent.app.report.data import describe_run
from pada_agent.app.report.document import render_report
from pada_agent.app.report.reading import read_files
from pada_agent.core.chat import ChatRequest
from pada_agent.core.records import Rejection
from pada_agent.graph.builder import build_graph
from pada_agent.graph.summary import RunSummary
from tests.fakes import ScriptedModel
from tests.toy_world import ToyWorld, make_settings, teach, texts_of

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "how-it-works" / "where-do-i-add.md").read_text(encoding="utf-8")
pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning")]


def read_block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    assert found
    return found[1]


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """The page's package, as an installer leaves it."""
    site = tmp_path_factory.mktemp("site")
    info = site / "their_parts-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "their_parts.py").write_text(read_block("python"))
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-parts\nVersion: 1.0\n")
    groups = tomllib.loads(read_block("toml"))["project"]["entry-points"]
    lines = [f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in points.items()) for group, points in groups.items()]
    (info / "entry_points.txt").write_text("\n".join(lines))
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(str(site))
        yield importlib.import_module("their_parts")
        del sys.modules["their_parts"]


def answer(request: ChatRequest) -> str:
    """Knows the recipe's prompt besides; its first row of each call holds an address."""
    if request.tags["prompt"] != "shorter":
        return teach(request)
    asked = texts_of(request.messages[-1].content, "row")
    return json.dumps(
        [
            {"row": n, "question": f"{'https://example.org ' * (i == 0)}brief {n} {request.draw} {text.split()[-1]}"}
            for i, (n, text) in enumerate(asked)
        ]
    )


def run(settings: Any, folder: Path) -> tuple[ToyWorld, RunSummary]:
    world = ToyWorld(folder, teacher=ScriptedModel(answer))
    build_graph(world.connect).compile().invoke({}, context=settings)
    (summary,) = world.published
    return world, summary


@pytest.fixture(scope="module")
def found(parts: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> tuple[ToyWorld, RunSummary]:
    """A run of the page's method, on its task."""
    assert parts
    settings = apply_settings(
        make_settings(loop={"max_iterations": 1}), pada_agent.find_method("brief").settings, origin="--arm brief"
    )
    task = settings.task.model_copy(update={"name": "riddles"})
    return run(settings.model_copy(update={"task": task}), tmp_path_factory.mktemp("run") / "run")


def test_their_task_method_recipe_and_guard_make_a_run(found: tuple[ToyWorld, RunSummary]) -> None:
    world, summary = found
    assert summary.task == "riddles"
    prompts = [prompt for prompt in world.teacher.prompts if "Say each question in fewer words." in prompt]  # type: ignore[attr-defined]
    assert prompts, "the recipe's own prompt is asked"
    assert summary.rows.accepted > 0 and summary.rows.rejected["address"] > 0
    refused = [r for b in world.read_reports(summary) for r in world.store.read_rows(b.rejected.key, Rejection)]
    assert {r.reason for r in refused if r.stage == "address"} == {"contains a web address: write without one"}
    assert all(r.example is None for r in refused if r.stage == "address"), "nobody may overrule it"
    assert all("https://" not in e.text for e in summary.accepted_samples)


@pytest.mark.usefixtures("parts")
def test_their_guard_heeds_its_settings(tmp_path: Path) -> None:
    changes = pada_agent.find_method("brief").settings | {"guard.plugins": {"no_urls": {"most": 1}}}
    _, summary = run(
        apply_settings(make_settings(loop={"max_iterations": 1}), changes, origin="test"), tmp_path / "run"
    )
    assert "address" not in summary.rows.rejected


def test_their_section_is_in_the_report(found: tuple[ToyWorld, RunSummary]) -> None:
    world, summary = found
    page = render_report(describe_run(read_files(summary, world.folder)))
    assert '<a href="#lengths">Lengths</a>' in page
    assert re.search(
        r'<section id="lengths">\s*<h2>Lengths</h2>\s*<p>\d+ rows, the longest of \d+ characters\.</p>', page
    )


def test_a_section_that_fails_leaves_the_others(
    found: tuple[ToyWorld, RunSummary], parts: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> str:
        raise ValueError("<nothing>")

    world, summary = found
    monkeypatch.setattr(parts, "LENGTHS", pada_agent.ReportSection(id="lengths", title="Lengths", render=fail))
    page = render_report(describe_run(read_files(summary, world.folder)))
    assert "This section could not be drawn: ValueError: &lt;nothing&gt;" in page
    assert '<section id="cost">' in page


def test_their_backend_is_opened_by_its_name(parts: ModuleType, tmp_path: Path) -> None:
    world = ToyWorld(tmp_path)
    parts.BORROWED["toy"] = world.compute
    settings = make_settings(compute={"backend": "borrowed"})
    assert open_compute(settings, tmp_path) is world.compute
    assert wiring._find_compute(settings, tmp_path) is world.compute


@pytest.mark.usefixtures("parts")
def test_their_method_is_an_arm_of_a_grid(tmp_path: Path) -> None:
    (tmp_path / "task.yaml").write_text("data: {train: t.jsonl, validation: v.jsonl, test: t.jsonl}\n")
    grid = tmp_path / "grid.yaml"
    grid.write_text(f"name: g\ntasks: {{toy: {{config: {tmp_path}/task.yaml}}}}\narms: [brief, vanilla]\nseeds: [0]\n")
    assert load_grid(grid).arms == ("brief", "vanilla")


@pytest.mark.usefixtures("parts")
@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"generation": {"template": "longer"}},
            "there is no recipe 'longer'; known are training_error_generation, .*, shorter",
        ),
        ({"guard": {"plugins": {"no_url": {}}}}, "there is no guard 'no_url'; known are no_urls"),
    ],
)
def test_a_name_that_is_not_there_is_told_with_those_that_are(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        make_settings(**changes)


def test_the_page_names_files_that_are_there() -> None:
    """With NAME for what is added."""
    paths = re.findall(r"`((?:agents|app|core|evaluation|prompts|docs)/[\w./]+?)`", PAGE)
    assert len(paths) > 8
    for path in paths:
        folder = ROOT / path.replace("NAME", "")
        assert (ROOT / path).exists() or ("NAME" in path and folder.parent.is_dir()), path
