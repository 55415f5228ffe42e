"""What an experiment compares, and the settings of each of its runs."""

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from pada_agent.app.estimates.calls import count_rows
from pada_agent.app.experiment.grid_check import list_problems
from pada_agent.app.experiment.grid_settings import ArmEntry as ArmEntry
from pada_agent.app.experiment.grid_settings import Grid as Grid
from pada_agent.app.experiment.grid_settings import PairEntry as PairEntry
from pada_agent.app.experiment.grid_settings import TaskEntry as TaskEntry
from pada_agent.app.experiment.grid_settings import method_of, name_of, name_run
from pada_agent.app.experiment.methods import Measured, apply_settings, find_method
from pada_agent.core.config import RunConfig
from pada_agent.core.config_files import load_config, parse_settings, read_yaml, spell_out
from pada_agent.core.errors import ConfigError
from pada_agent.core.ports import DatasetSource
from pada_agent.core.records import Record
from pada_agent.core.suggestions import suggest
from pada_agent.evaluation.tasks.registry import find_task_kind

SHARED = "shared"
"""Folder inside the experiment's folder for what its runs share."""
SUBSET_SEED = 0
"""Seed of the order in which training rows are taken, whatever the run's seed. Smaller sets are therefore part of larger ones."""

_IDLE_EPOCHS = "lora.epochs: does nothing, because {why}. Set lora.n_steps instead, or also lora.n_steps: null"


class Cell(Record):
    """One combination, and the run that measures it. Cells with equal settings share a run."""

    task: str
    size: int | None
    arm: str
    seed: int
    measured: Measured
    """Which of the run's models represents the arm."""
    is_oracle: bool
    """Whether it measures the headroom with real rows alone."""
    config: RunConfig

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return Path(self.config.runs_folder) / self.config.name

    @property
    def represented(self) -> Measured:
        """Which of the run's models it is in fact: without a round of augmentation, that is the fine-tuned one."""
        return self.measured if self.config.loop.max_iterations or self.measured == "untouched" else "fine-tuned"


class Part(Record):
    """Some cells of a grid, for one of several processes."""

    arms: tuple[str, ...] = ()
    """Empty means all."""
    seeds: tuple[int, ...] = ()
    """Empty means all."""

    @property
    def is_given(self) -> bool:
        """Whether this is less than the whole grid."""
        return bool(self.arms or self.seeds)


WHOLE = Part()


def load_grid(path: Path) -> Grid:
    """Read a grid's YAML file.

    Raises:
        ConfigError: one line per problem, with file and key.
    """
    values = read_yaml(path, Grid)
    _refuse_settings_of_a_run(path, values)
    grid = parse_settings(Grid, values, origin=str(path))
    grid.read_from(path)
    grid.refuse(list_problems(path, grid))
    grid.refuse(_list_invalid(grid))
    return grid


def plan_cells(grid: Grid, datasets: DatasetSource) -> list[Cell]:
    """Every combination in the order of running: by task and size, with plain fine-tuning first, then the oracle, then the other arms.

    Raises:
        ConfigError: a run's settings are not valid, the run would wait for a person, there are fewer training rows than a size, or arms to
            compare with each other are the same.
        DatasetError: rows cannot be read.
    """
    cells: list[Cell] = []
    for task in grid.tasks:
        base = _configure_task(grid, task)
        grid.refuse(_list_too_large(grid, task, base, datasets))
        for size in grid.sizes:
            sized = fix_steps(take_subset(base, size), datasets)
            cells += _plan_arms(grid, task, size, base=base, sized=sized)
    cells = _share_runs(cells)
    grid.refuse(_list_equal_pairs(grid, cells))
    return cells


def select_cells(cells: Sequence[Cell], part: Part) -> list[Cell]:
    """The cells of a part.

    Raises:
        ConfigError: the grid does not have such an arm or seed.
    """
    for what, wanted, known in (
        ("arm", part.arms, {cell.arm: None for cell in cells}),
        ("seed", part.seeds, {cell.seed: None for cell in cells}),
    ):
        if unknown := [str(value) for value in wanted if value not in known]:
            raise ConfigError(
                f"the grid has no {what} {', '.join(unknown)}. It has: {', '.join(map(str, known))}."
                f"{suggest(unknown[0], known)}"
            )
    return [c for c in cells if c.arm in (part.arms or (c.arm,)) and c.seed in (part.seeds or (c.seed,))]


def check_base(config: RunConfig, task: str) -> None:
    """Check that runs with these settings can be compared without a person.

    Raises:
        ConfigError: they cannot.
    """
    if config.review.strategies or config.review.data or config.review.cost_above_hours is not None:
        raise ConfigError(f"tasks.{task}: review: an experiment cannot wait for a person; switch reviews off")
    if not config.data.test:
        raise ConfigError(f"tasks.{task}: data.test: no rows given, but arms are compared on test rows")


def take_subset(config: RunConfig, size: int | None) -> RunConfig:
    """The settings with `size` training rows."""
    if size is None:
        return config
    return apply_settings(config, {"data.train_limit": size, "data.train_shuffle": SUBSET_SEED}, origin="sizes")


def fix_steps(config: RunConfig, datasets: DatasetSource) -> RunConfig:
    """The settings with a fixed number of optimizer steps: as given, or as many as `epochs` need for the rows after one augmentation round.

    Rows are counted as a run reads them: without repeated rows and those that are also in validation or test, and with one for each turn that
    is trained on.

    Raises:
        ConfigError: there is no such task.
        DatasetError: nothing of a split can be read.
    """
    if config.lora.n_steps is not None:
        return config
    n_train = count_rows(config, datasets).train
    n_rows = n_train + config.n_definitions + config.generation.count_rows(n_train)
    return apply_settings(config, {"lora.n_steps": config.lora.count_steps(n_rows)}, origin="lora")


def _plan_arms(grid: Grid, task: str, size: int | None, *, base: RunConfig, sized: RunConfig) -> list[Cell]:
    cells = [_make_cell(grid, task, size, arm, seed, base, sized) for arm in grid.arms for seed in grid.seeds]
    return sorted(cells, key=lambda cell: (cell.measured == "augmented", not cell.is_oracle))


def _make_cell(
    grid: Grid, task: str, size: int | None, arm: str | ArmEntry, seed: int, base: RunConfig, sized: RunConfig
) -> Cell:
    name, method = name_of(arm), find_method(method_of(arm))
    place = {
        "name": name_run(task, size, name, seed),
        "runs_folder": str(Path(grid.runs_folder) / grid.name),
        "shared_folder": SHARED,
        "seed": seed,
    }
    config = _configure_arm(arm, base, sized, place)
    is_oracle = not config.generation.written_share
    return Cell(task=task, size=size, arm=name, seed=seed, measured=method.measured, is_oracle=is_oracle, config=config)


def _configure_task(grid: Grid, task: str) -> RunConfig:
    """The task's settings, as its file, the grid and the task's entry give them."""
    entry = grid.tasks[task]
    try:
        base = load_config(Path(entry.config))
    except ConfigError as exc:
        raise ConfigError("\n".join(f"tasks.{task}.config: {line}" for line in str(exc).split("\n"))) from exc
    every, own = dict(spell_out(grid.set)), dict(spell_out(entry.set))
    origins = {**dict.fromkeys(every, "set"), **dict.fromkeys(own, f"tasks.{task}")}
    base = apply_settings(base, {**every, **own}, origin=f"tasks.{task}", origins=origins)
    if base.lora.n_steps is not None and (origin := origins.get("lora.epochs")):
        raise ConfigError(f"{origin}: {_IDLE_EPOCHS.format(why='lora.n_steps is set')}")
    check_base(base, task)
    return base


def _configure_arm(arm: str | ArmEntry, base: RunConfig, sized: RunConfig, place: Mapping[str, Any]) -> RunConfig:
    """The task's settings with `sized` rows, changed as the arm says, in its `place`."""
    method = find_method(method_of(arm))
    own_steps = {"lora.n_steps": base.lora.n_steps} if method_of(arm) == "vanilla" else {}
    own = {} if isinstance(arm, str) else arm.set
    own = dict(spell_out(own))
    changes = {**own_steps, **dict(spell_out(method.settings)), **own, **place}
    if "lora.epochs" in own and changes.get("lora.n_steps", "fixed") is not None:
        why = "lora.n_steps is set" if "lora.n_steps" in changes else "the grid fixes the steps"
        raise ConfigError(f"arms.{name_of(arm)}: {_IDLE_EPOCHS.format(why=why)}")
    config = apply_settings(sized, changes, origin=f"arms.{name_of(arm)}")
    if config.models.judge != base.models.judge and find_task_kind(config.task.name).asks_judge:
        raise ConfigError(
            f"arms.{name_of(arm)}: models.judge: it decides which answers to '{config.task.name}' are right, so all arms need the same"
        )
    return config


def _share_runs(cells: Iterable[Cell]) -> list[Cell]:
    """Cells whose settings differ only in the run's name use the run of the first one."""
    first: dict[str, RunConfig] = {}
    return [cell.model_copy(update={"config": first.setdefault(_address(cell.config), cell.config)}) for cell in cells]


def _address(config: RunConfig) -> str:
    return config.model_copy(update={"name": "run"}).model_dump_json()


def group_cells(cells: Iterable[Cell]) -> Mapping[tuple[str, int | None, str], list[Cell]]:
    """The cells by task, size and arm. Each group has one cell per seed."""
    groups: dict[tuple[str, int | None, str], list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell.task, cell.size, cell.arm), []).append(cell)
    return groups


def _refuse_settings_of_a_run(path: Path, values: Mapping[str, Any]) -> None:
    only_of_runs = RunConfig.model_fields.keys() - Grid.model_fields.keys()
    if only_of_runs & values.keys() and not {"tasks", "arms"} & values.keys():
        raise ConfigError(
            f"{path}: these are settings of one run: pada run {shlex.quote(str(path))}. A grid names them under its tasks."
        )


def _list_invalid(grid: Grid) -> Iterator[str]:
    """What is wrong with the settings of the grid's runs."""
    for task in grid.tasks:
        try:
            base = _configure_task(grid, task)
        except ConfigError as exc:
            yield from str(exc).split("\n")
            continue
        for arm in grid.arms:
            try:
                _configure_arm(arm, base, base, {})
            except ConfigError as exc:
                yield from str(exc).split("\n")


def _list_too_large(grid: Grid, task: str, base: RunConfig, datasets: DatasetSource) -> Iterator[str]:
    """Sizes beyond the task's training rows, or as large as without a size."""
    sizes, data = [size for size in grid.sizes if size is not None], base.data
    n_rows = len(datasets.read(data.train, limit=max(sizes))) if sizes else 0
    n_own = len(datasets.read(data.train, limit=data.train_limit)) if sizes and None in grid.sizes else None
    for i, size in enumerate(grid.sizes):
        if size is not None and size > n_rows:
            yield f"sizes.{i}: {size}, but there are {n_rows} training rows (tasks.{task}: data.train: {data.train})"
        elif size is not None and size == n_own:
            yield f"sizes.{i}: {size} is also what null means (tasks.{task}: data.train: {data.train}). Remove one"


def _list_equal_pairs(grid: Grid, cells: Sequence[Cell]) -> Iterator[str]:
    """Comparisons of arms that amount to the same on every task and size."""
    found = {(cell.task, cell.size, cell.arm, cell.seed): (cell.folder, cell.represented) for cell in cells}
    places = list(product(grid.tasks, grid.sizes, grid.seeds))
    for i, pair in enumerate(grid.compare):
        if all(found[t, size, pair.arm, seed] == found[t, size, pair.against, seed] for t, size, seed in places):
            yield (
                f"compare.{i}: '{pair.arm}' and '{pair.against}' have equal settings, so there is nothing to compare."
                " Change one of them, or remove the comparison"
            )
