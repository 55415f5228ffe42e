"""Runs of an application that name the same folder: one takes nothing from another that has other settings or rows."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pada_agent.app import wiring
from pada_agent.core.config import RunConfig
from pada_agent.core.errors import BudgetExceededError, ConfigError
from pada_agent.graph.adapters import Adapters
from pada_agent.graph.summary import RunSummary
from tests.integration.test_budget_of_a_call import App
from tests.toy_world import TRAIN

FEWER: dict[str, Any] = {"train": TRAIN[:8]}


class PublishingApp(App):
    """An application whose runs leave their summary in their folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.result = folder / "toy" / "summary.json"
        self.graph = self.open()
        self.opened: list[RunConfig] = []

    def connect(self, config: RunConfig) -> Adapters:
        self.opened.append(config)
        return replace(super().connect(config), publish=self._publish)

    def _publish(self, summary: RunSummary, _: Any) -> None:
        self.result.write_text(summary.model_dump_json())

    def call(self, thread: str, given: Any = None, **changes: Any) -> Any:
        at: Any = {"configurable": {"thread_id": thread}}
        return self.graph.invoke(given or {}, at, context=self.settings(**changes))


@pytest.fixture
def app(tmp_path: Path) -> Iterator[PublishingApp]:
    found = PublishingApp(tmp_path)
    yield found
    for settings in found.opened:
        wiring.close(settings)


@pytest.mark.parametrize(("given", "changes"), [({}, {"seed": 1}), (FEWER, {})], ids=["other settings", "other rows"])
def test_results_are_not_replaced_by_those_of_another_run(app: PublishingApp, given: Any, changes: Any) -> None:
    verdict = app.call("1")["summary"].verdict
    published, n_asked = app.result.read_text(), app.teacher.n_asked
    with pytest.raises(ConfigError, match=r"other settings or rows, and they would be replaced.* another `name`"):
        app.call("2", given, **changes)
    assert (app.result.read_text(), app.teacher.n_asked) == (published, n_asked)
    assert app.call("3", budget={"max_calls": 900})["summary"].verdict == verdict, "an equal run finds its own again"


def test_of_runs_at_the_same_time_with_other_rows_one_is_refused(app: PublishingApp) -> None:
    threads: list[Any] = [{"configurable": {"thread_id": thread}} for thread in ("1", "2")]
    found = app.graph.batch([{}, FEWER], threads, context=app.settings(), return_exceptions=True)
    (refused,) = [one for one in found if isinstance(one, Exception)]
    assert isinstance(refused, ConfigError) and "Give this one another `name`" in str(refused)


def test_a_run_that_waits_for_a_person_keeps_its_folder_and_may_start_again(app: PublishingApp) -> None:
    reviewed: dict[str, Any] = {"review": {"strategies": True}}
    assert app.call("1", **reviewed)["__interrupt__"]
    for changes in ({**reviewed, "seed": 1}, {}):
        with pytest.raises(ConfigError, match="works there or waits for a person"):
            app.call("2", **changes)
    assert app.call("1", FEWER, **reviewed)["__interrupt__"]


def test_a_name_is_free_for_corrected_settings_once_a_run_has_failed(app: PublishingApp) -> None:
    with pytest.raises(BudgetExceededError):
        app.call("1", budget={"max_calls": 5})
    assert app.call("2", seed=1)["summary"].seed == 1
