"""Runs the cells of a grid, one after the other or several at the same time. Finished ones are skipped."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

from pada_agent.app import wiring
from pada_agent.app.adapters.storage.datasets import FileDatasets
from pada_agent.app.experiment.grid import Cell, Grid, Part, group_cells, plan_cells, select_cells
from pada_agent.app.experiment.results import ExperimentResult, collect_result, describe_headroom, measure_arm
from pada_agent.app.experiment.side_by_side import SideBySide
from pada_agent.app.experiment.tables import write_tables
from pada_agent.app.run_folder import layout
from pada_agent.app.run_folder.claiming import claim_folder
from pada_agent.app.run_folder.events import OnEvent
from pada_agent.app.runs import driver
from pada_agent.core.errors import ConfigError, PadaError
from pada_agent.core.ports import DatasetSource
from pada_agent.evaluation.statistics import DISAGREEMENT, SEED_SD, expect_spread, find_smallest_shown

HEADROOM = "-headroom"
"""Suffix of the name of a run of `--headroom`."""
OF_A_PART = (
    "A part of the grid: p values are corrected over its arms only. Without --arms and --seeds the whole is compared, and"
    " its tables are written."
)


def run_experiment(
    grid: Grid,
    part: Part,
    *,
    command: str,
    headroom_only: bool,
    on_event: OnEvent,
    say: Callable[[str], None],
    n_at_once: int = 1,
) -> ExperimentResult:
    """Run what is not finished, and write the tables into the experiment's folder.

    Args:
        part: the part of the grid to run. For a part, no tables are written, and several processes may each run one.
        command: the command that continues the experiment, for messages.
        headroom_only: stop after plain fine-tuning and the oracle, which make no LLM calls.
        n_at_once: number of runs at the same time. With more than one, a run that fails does not stop the others.

    Raises:
        ConfigError: something is wrong with the grid, or a folder holds a run with other settings.
        KeyboardInterrupt: the user stopped it. The message says how to continue.
    """
    cells = select_cells(plan_cells(grid, FileDatasets()), part)
    if headroom_only:
        cells = [without_test(c) for c in cells if c.is_oracle or c.measured != "augmented"]
    if not cells:
        raise ConfigError("nothing to run: --headroom makes no LLM calls, but all of these arms need them")
    folder = Path(grid.runs_folder) / grid.name
    folder.mkdir(parents=True, exist_ok=True)
    with nullcontext() if part.is_given else layout.locked(folder), wiring.keep_warm():
        try:
            if n_at_once == 1:
                run_cells(cells, on_event, say)
            else:
                runs = SideBySide(run_cell, n_at_once, on_event=on_event, say=say, way_on=f"continue with: {command}")
                runs.run(group_cells(cells).values(), after_group=lambda group: say_headroom(group, runs.say))
        except PadaError as exc:
            exc.way_on = f"Finished work is kept. To continue: {command}"
            raise
        except KeyboardInterrupt as exc:
            raise KeyboardInterrupt(f"continue with: {command}") from exc
    result = collect_result(grid.name, cells, () if headroom_only else grid.compare)
    if part.is_given:
        return result.model_copy(update={"notes": (*result.notes, OF_A_PART)})
    write_tables(result, folder)
    return result


def without_test(cell: Cell) -> Cell:
    """The cell without test rows, as `--headroom` runs it. Test rows are only for the comparison, whose run reuses what was computed."""
    config = cell.config
    data = config.data.model_copy(update={"test": "", "test_limit": None})
    return cell.model_copy(
        update={"config": config.model_copy(update={"name": f"{config.name}{HEADROOM}", "data": data})}
    )


def describe_power(grid: Grid, datasets: DatasetSource) -> str:
    """The true difference that each task could show with its test rows and the grid's seeds, before anything is run or paid for.

    Raises:
        ConfigError: something is wrong with the grid's settings.
        DatasetError: test rows cannot be read.
    """
    groups = group_cells(plan_cells(grid, datasets))
    places = dict.fromkeys((task, size) for task, size, _ in groups)
    n_methods = sum(group[0].measured == "augmented" and not group[0].is_oracle for group in groups.values())
    n_tests = len(grid.compare) * len(places) or max(1, n_methods)
    lines = [f"{len(grid.seeds)} seed(s), {n_tests} comparison(s) under Holm's correction:"]
    for task, size in places:
        data = next(group[0].config.data for key, group in groups.items() if key[:2] == (task, size))
        n_rows = len(datasets.read(data.test, limit=data.test_limit, shuffle=data.shuffle))
        spread = expect_spread(n_rows, len(grid.seeds))
        lines.append(
            f"  {task}{f' ({size} rows)' if size else ''}, {n_rows} test rows: a true difference of"
            f" {100 * find_smallest_shown(spread, n_tests):.1f} points is shown in 8 of 10 experiments"
            f" ({100 * find_smallest_shown(spread):.1f} if it were the only comparison)"
        )
    lines.append(
        f"Assumed: two methods answer {DISAGREEMENT:.0%} of the rows unequally, and adapters of one method differ by"
        f" {100 * SEED_SD:.0f} point beyond that. A finished experiment says the same from its own figures ('could show')."
    )
    return "\n".join(lines) + "\n"


def run_cells(cells: Sequence[Cell], on_event: OnEvent, say: Callable[[str], None]) -> None:
    """Run every cell's run once, and report after each oracle whether there is headroom."""
    for group in group_cells(cells).values():
        for cell in group:
            run_cell(cell, on_event, say)
        say_headroom(group, say)


def run_cell(cell: Cell, on_event: OnEvent, say: Callable[[str], None]) -> None:
    """Run the cell's run, or continue it, unless it is finished."""
    if layout.is_finished(layout.folder_of(cell.config)):
        claim_folder(cell.config)  # refuses a run with other settings
        return
    say(f"{cell.task}, {cell.size or 'all'} rows, {cell.arm}, seed {cell.seed}")
    driver.start_run(cell.config, on_event=on_event)


def say_headroom(group: Sequence[Cell], say: Callable[[str], None]) -> None:
    """Report whether a finished oracle found headroom."""
    if group[0].is_oracle and (warning := describe_headroom(measure_arm(group))):
        say(f"Warning: {warning}")
