"""Runs the cells of a grid one after the other; what is finished is skipped."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

from pada_agent.app import wiring
from pada_agent.app.adapters.storage.datasets import FileDatasets
from pada_agent.app.experiment.grid import Cell, Grid, Part, group_cells, plan_cells, select_cells
from pada_agent.app.experiment.results import ExperimentResult, collect_result, describe_headroom, measure_arm
from pada_agent.app.experiment.tables import write_tables
from pada_agent.app.run_folder import layout
from pada_agent.app.run_folder.claiming import claim_folder
from pada_agent.app.run_folder.events import OnEvent
from pada_agent.app.runs import driver
from pada_agent.core.errors import ConfigError, PadaError

OF_A_PART = (
    "A part of the grid: p values are corrected over its arms only. Without --arms and --seeds the whole is compared, and"
    " its tables are written."
)


def run_experiment(
    grid: Grid, part: Part, *, command: str, probe_only: bool, on_event: OnEvent, say: Callable[[str], None]
) -> ExperimentResult:
    """Run what is not finished, and write the tables into the experiment's folder.

    Args:
        part: what to run of the grid. Of a part no tables are written, and several processes may each run one.
        command: what goes on with the experiment, for messages.
        probe_only: stop after plain fine-tuning and the headroom probe, which ask no LLM.

    Raises:
        ConfigError: the grid, or a folder that holds a run with other settings.
        KeyboardInterrupt: the user stopped it; its text says how to go on.
    """
    cells = select_cells(plan_cells(grid, FileDatasets()), part)
    if probe_only:
        cells = [c for c in cells if c.is_probe or c.measured != "augmented"]
    if not cells:
        raise ConfigError("nothing to run: the probe needs no LLM, and none of these arms does without one")
    folder = Path(grid.runs_folder) / grid.name
    folder.mkdir(parents=True, exist_ok=True)
    with nullcontext() if part.is_given else layout.locked(folder), wiring.keep_warm():
        try:
            run_cells(cells, on_event, say)
        except PadaError as exc:
            exc.way_on = f"What is finished is kept. To go on: {command}"
            raise
        except KeyboardInterrupt as exc:
            raise KeyboardInterrupt(f"go on with: {command}") from exc
    result = collect_result(grid.name, cells, grid.compare)
    if part.is_given:
        return result.model_copy(update={"notes": (*result.notes, OF_A_PART)})
    write_tables(result, folder)
    return result


def run_cells(cells: Sequence[Cell], on_event: OnEvent, say: Callable[[str], None]) -> None:
    """Run every cell's run once, and say after each probe whether there is headroom."""
    for group in group_cells(cells).values():
        for cell in group:
            if layout.is_finished(layout.folder_of(cell.config)):
                claim_folder(cell.config)  # refuses a run with other settings
                continue
            say(f"{cell.task}, {cell.size or 'all'} rows, {cell.arm}, seed {cell.seed}")
            driver.start_run(cell.config, on_event=on_event)
        if group[0].is_probe and (warning := describe_headroom(measure_arm(group))):
            say(f"Warning: {warning}")
