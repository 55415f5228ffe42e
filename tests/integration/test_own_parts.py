"""Parts that an application puts in place of standard ones, as docs/embedding.md says, are those that the others work with."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pada_agent.app import wiring
from pada_agent.app.adapters.storage.artifacts import FileArtifactStore
from pada_agent.app.run_folder import layout
from pada_agent.core.config import RunConfig
from pada_agent.core.errors import ConfigError
from pada_agent.core.jobs import TokenizerJob
from pada_agent.graph.adapters import Adapters
from pada_agent.graph.builder import build_graph
from tests.integration.test_budget_of_a_call import ToyTeacher
from tests.toy_student import save_hollow_model
from tests.toy_world import NearestRowCompute, ToyWorld, make_settings


class App:
    """An application with a store outside the run's folder, the toy student behind a compute backend, and an embedder."""

    def __init__(self, folder: Path) -> None:
        self.objects = folder / "elsewhere"
        self.store, self.compute = FileArtifactStore(self.objects), NearestRowCompute(self.objects)
        self._toy = ToyWorld(folder / "toy")
        own = {role: {"model": "own:toy"} for role in ("analyst", "generator", "judge")}
        self.settings = make_settings(
            runs_folder=str(folder / "runs"),
            student={"model": str(save_hollow_model(folder / "model"))},
            models={"embedder": "own:words", **own},
            loop={"max_iterations": 1},
        )

    def connect(self, config: RunConfig) -> Adapters:
        standard, toy = wiring.connect(config), self._toy.connect(config)
        roles = {
            role: wiring.bring_chat_model(getattr(standard, role), ToyTeacher())
            for role in ("analyst", "generator", "judge")
        }
        return replace(
            standard, store=self.store, compute=self.compute, embedder=toy.embedder, datasets=toy.datasets, **roles
        )


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    found = App(tmp_path)
    yield found
    wiring.close(found.settings)


def test_a_run_with_an_own_store_compute_and_embedder_is_measured_and_published(app: App, tmp_path: Path) -> None:
    summary = build_graph(app.connect).compile().invoke({}, context=app.settings)["summary"]
    folder = tmp_path / "runs" / "toy"
    assert any(isinstance(job, TokenizerJob) for job in app.compute.ran), "it is asked for the student's tokenizer"
    assert layout.load_summary(folder) == summary
    assert summary.adapter is not None
    trained = (app.objects / Path(summary.adapter).name / "memory.json").read_text()
    assert (folder / "best" / "memory.json").read_text() == trained
    assert trained in {path.read_text() for path in folder.glob("iterations/*/adapter/memory.json")}
    assert {path.parent.parent.name for path in folder.glob("iterations/*/predictions/test.jsonl")} >= {
        "untouched",
        "1",
    }
    assert "cannot be read, and are not shown" not in (folder / "report.html").read_text(encoding="utf-8")
    assert not any((folder / "objects").glob("*")), "nothing went to the standard store"


def test_the_tokenizer_of_an_own_compute_is_read_once(app: App) -> None:
    connected = app.connect(app.settings)
    assert connected.tokens is app.connect(app.settings).tokens
    assert connected.tokens is not wiring.connect(app.settings).tokens


def test_an_own_embedder_that_is_not_brought_is_missed_where_it_is_asked(app: App) -> None:
    with pytest.raises(
        ConfigError, match=r"models\.embedder is 'own:words': the application has to provide this embedder"
    ):
        wiring.connect(app.settings).embedder.embed(["a text"])
