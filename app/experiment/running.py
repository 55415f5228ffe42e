"""Runs the cells of a grid, one after the other or several at the same time. Finished ones are skipped."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

from pada_agent.app import wiring
from pada_agent.app.adapters.storage.artifacts import make_folder
from pada_agent.app.adapters.storage.datasets import FileDatasets
from pada_agent.app.estimates.calls import count_rows
from pada_agent.app.experiment.beforehand import refuse_early
from pada_agent.app.experiment.grid import WHOLE, Cell, Grid, Part, group_cells, plan_cells, select_cells
from pada_agent.app.experiment.history import carry_on, read_earlier
from pada_agent.app.experiment.results import (
    ExperimentResult,
    collect_result,
    count_tests,
    describe_headroom,
    measure_arm,
)
from pada_agent.app.experiment.side_by_side import SideBySide
from pada_agent.app.experiment.tables import write_tables
from pada_agent.app.run_folder import claiming, layout
from pada_agent.app.run_folder.events import OnEvent
from pada_agent.app.runs import driver
from pada_agent.core.errors import ConfigError, PadaError
from pada_agent.core.ports import DatasetSource
from pada_agent.core.wording import count
from pada_agent.evaluation.statistics import DISAGREEMENT, SEED_SD, Spread, expect_spread, find_smallest_shown

HEADROOM = "-headroom"
"""Suffix of the name of a run of `--headroom`."""
OF_A_PART = (
    "A part of the grid: p values are corrected for its arms only. To compare all arms and write the tables, run the command"
    " without --arms and --seeds."
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
        headroom_only: stop after plain fine-tuning and the oracle, for which no LLM writes anything.
        n_at_once: number of runs at the same time. With more than one, a run that fails does not stop the others.

    Raises:
        ConfigError: something is wrong with the grid, a folder holds a run with other settings, or something that the runs need is missing.
        ArtifactError: the experiment's folder cannot be made.
        KeyboardInterrupt: the user stopped it. The message says how to continue.
    """
    cells = select_cells(plan_cells(grid, FileDatasets()), part)
    if headroom_only:
        cells = [without_test(c) for c in cells if c.is_oracle or c.measured != "augmented"]
    if not cells:
        raise ConfigError(
            "nothing to run: --headroom leaves out arms whose rows an LLM writes, and these are all such arms"
        )
    refuse_early(cells)
    folder = make_folder(Path(grid.runs_folder) / grid.name)
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
    if headroom_only:
        write_tables(result, folder, name="headroom")
        return result
    result = carry_on(result, read_earlier(folder / "results.json", ExperimentResult))
    write_tables(result, folder)
    return result


def without_test(cell: Cell) -> Cell:
    """The cell without test rows, as `--headroom` runs it. Test rows are only for the comparison, whose run reuses what was computed."""
    config = cell.config
    data = config.data.model_copy(update={"test": "", "test_limit": None})
    return cell.model_copy(
        update={"config": config.model_copy(update={"name": f"{config.name}{HEADROOM}", "data": data})}
    )


def describe_power(grid: Grid, datasets: DatasetSource, part: Part = WHOLE) -> str:
    """The true difference that each task could show with its test rows and the part's seeds, before anything is run or paid for.

    Raises:
        ConfigError: something is wrong with the grid's settings, or it does not have such arms or seeds.
        DatasetError: nothing of a split can be read.
    """
    groups = group_cells(select_cells(plan_cells(grid, datasets), part))
    places = dict.fromkeys((task, size) for task, size, _ in groups)
    arms = {arm for _, _, arm in groups}
    n_seeds = len(next(iter(groups.values())))
    n_declared = sum({pair.arm, pair.against} <= arms for pair in grid.compare)
    n_tests = n_declared * len(places) or count_tests(groups.values())
    lines = [f"{count(n_seeds, 'seed')}, {count(n_tests, 'comparison')} under Holm's correction:"]
    one_of = {task: group[0].config for (task, _, _), group in groups.items()}
    n_test = {task: count_rows(config, datasets).test for task, config in one_of.items()}
    for task, size in places:
        n_rows = n_test[task]
        could_show = _word_smallest(expect_spread(n_rows, n_seeds), n_tests)
        lines.append(f"  {task}{f' ({size} rows)' if size else ''}, {count(n_rows, 'test row')}: {could_show}")
    if part.is_given:
        lines.append("This is about the part of the grid that --arms and --seeds name.")
    lines.append(
        f"Assumed: two methods answer {DISAGREEMENT:.0%} of the rows unequally, and adapters of one method differ by"
        f" {100 * SEED_SD:.0f} point beyond that. A finished experiment says the same from its own figures ('could show')."
    )
    return "\n".join(lines) + "\n"


def _word_smallest(spread: Spread, n_tests: int) -> str:
    """The smallest true difference that is shown. None is larger than 100 points."""
    points, alone = 100 * find_smallest_shown(spread, n_tests), 100 * find_smallest_shown(spread)
    if points > 100:
        only = f" ({alone:.1f} points if it were the only comparison)" if alone <= 100 else ""
        return f"so few cannot show any difference{only}. Use more test rows"
    return f"a true difference of {points:.1f} points is shown in 8 of 10 experiments ({alone:.1f} if it were the only comparison)"


def run_cells(cells: Sequence[Cell], on_event: OnEvent, say: Callable[[str], None]) -> None:
    """Run every cell's run once, and report after each oracle whether there is headroom."""
    for group in group_cells(cells).values():
        for cell in group:
            run_cell(cell, on_event, say)
        say_headroom(group, say)


def run_cell(cell: Cell, on_event: OnEvent, say: Callable[[str], None]) -> None:
    """Run the cell's run, or continue it, unless it is finished."""
    folder = layout.folder_of(cell.config)
    if layout.is_finished(folder):
        claiming.check_finished(folder, cell.config)
        return
    say(f"{cell.task}, {cell.size or 'all'} rows, {cell.arm}, seed {cell.seed}")
    driver.start_run(cell.config, on_event=on_event)


def say_headroom(group: Sequence[Cell], say: Callable[[str], None]) -> None:
    """Report whether a finished oracle found headroom."""
    if group[0].is_oracle and (warning := describe_headroom(measure_arm(group))):
        say(f"Warning: {warning}")
