"""Most grids here are over rows that no task could read: only their number matters."""

from types import SimpleNamespace

import pytest

from pada_agent.app.experiment import grid, running
from pada_agent.core.config import RunConfig
from pada_agent.core.ports import DatasetSource


@pytest.fixture(autouse=True)
def count_all_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    def count(config: RunConfig, datasets: DatasetSource) -> SimpleNamespace:
        return SimpleNamespace(train=len(datasets.read(config.data.train, limit=config.data.train_limit)))

    def count_test(config: RunConfig, datasets: DatasetSource) -> SimpleNamespace:
        return SimpleNamespace(test=len(datasets.read(config.data.test)))

    monkeypatch.setattr(grid, "count_rows", count)
    monkeypatch.setattr(running, "count_rows", count_test)
