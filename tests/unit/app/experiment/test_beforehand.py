"""What stops an experiment before its first run starts."""

from pathlib import Path

import pytest

from pada_agent.app.experiment import beforehand
from pada_agent.app.experiment.beforehand import refuse_early
from pada_agent.app.experiment.grid import Cell
from pada_agent.app.run_folder import claiming, layout
from pada_agent.core.config import RunConfig
from pada_agent.core.errors import ConfigError
from pada_agent.evaluation.rows.findings import Finding, stop
from tests.unit.app.experiment.test_experiment import plan


def save(cell: Cell, *, finished: bool = True, **changes: object) -> None:
    """Give the cell's folder a run, with changed settings."""
    cell.folder.mkdir(parents=True, exist_ok=True)
    (cell.folder / layout.CONFIG).write_text(layout.dump_config(cell.config.model_copy(update=changes)))
    (cell.folder / layout.SUMMARY).write_text("{}")
    if not finished:
        (cell.folder / layout.SUMMARY).unlink()


def test_a_grid_that_was_changed_is_refused_before_hours_have_passed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beforehand, "find_missing", lambda _: [])
    grid = {"runs_folder": str(tmp_path), "arms": ["le", "pada"], "seeds": [0, 1]}
    *le, old, other = plan(tmp_path, **grid)
    save(le[0])
    save(old, generation={"temperature": 1.0}), save(other, generation={"temperature": 1.0})
    told = (
        f"{old.folder}, {other.folder}: are runs with other settings than the grid's now (generation.temperature). Put the old ones"
        " back, give the arm or the grid another name, or delete the folders: what it shares with others is found again."
    )
    with pytest.raises(ConfigError) as caught:
        refuse_early([*le, old, other])
    assert str(caught.value) == told
    save(old), save(other, finished=False, generation={"temperature": 1.0})
    refuse_early([*le, old, other])
    (other.folder / layout.CALLS).write_text("something that was paid for")
    with pytest.raises(ConfigError, match=f"^{other.folder}: is a run with other settings"):
        refuse_early([*le, old, other])
    claiming.note_error(other.folder, "its advice may be followed")
    refuse_early([*le, old, other])


def test_what_a_later_arm_needs_is_missed_before_the_first_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain fine-tuning and the oracle, which come first, need no teacher."""

    def find_missing(config: RunConfig) -> list[Finding]:
        return [stop("models.generator: no API key", "settings")] * (config.loop.max_iterations > 0)

    monkeypatch.setattr(beforehand, "find_missing", find_missing)
    cells = plan(tmp_path, runs_folder=str(tmp_path / "runs"), arms=["vanilla", "le", "pada"])
    with pytest.raises(ConfigError, match=r"^models\.generator: no API key$"):
        refuse_early(cells)
    for cell in cells[1:]:
        save(cell)
    refuse_early(cells)
