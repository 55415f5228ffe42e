"""What an experiment compares, and the settings of each of its runs."""

import math
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from pada_agent.app.experiment.methods import METHODS, Measured, apply_settings, find_method
from pada_agent.core import plugins
from pada_agent.core.config import RunConfig, Settings
from pada_agent.core.config_files import expand_home, load_config, parse_settings, read_yaml
from pada_agent.core.errors import ConfigError
from pada_agent.core.plugins import find_missing
from pada_agent.core.ports import DatasetSource
from pada_agent.core.records import Record
from pada_agent.core.settings import FOLDER_NAME, LONGEST_NAME
from pada_agent.core.suggestions import suggest

LocalPath = Annotated[str, AfterValidator(expand_home)]
SHARED = "shared"
"""Folder inside the experiment's folder for what its runs share."""
SUBSET_SEED = 0
"""Seed of the order in which training rows are taken, whatever the run's seed. Smaller sets are therefore part of larger ones."""


class TaskEntry(Settings):
    """One task of the grid."""

    config: LocalPath
    """YAML file with the run's settings, relative to the working directory."""
    set: dict[str, Any] = Field(default_factory=dict)
    """Settings to change, as a mapping from `a.b` to the value."""


class ArmEntry(Settings):
    """A method with changed settings."""

    name: str = Field(pattern=FOLDER_NAME, max_length=LONGEST_NAME)
    """Its name in the table."""
    like: str
    """The method that it is a variant of."""
    set: dict[str, Any] = Field(default_factory=dict)
    """Settings to change, as a mapping from `a.b` to the value."""


class PairEntry(Settings):
    """Two arms to compare with each other."""

    arm: str
    against: str


class Grid(Settings):
    """Tasks × sizes × arms × seeds. Every combination is a run."""

    name: str = Field(pattern=FOLDER_NAME, max_length=LONGEST_NAME)
    """Name of the experiment's folder below `runs_folder`."""
    runs_folder: LocalPath = "runs"
    """Relative to the working directory."""
    tasks: dict[str, TaskEntry]
    """Tasks by the name that the table shows."""
    sizes: tuple[int | None, ...] = (None,)
    """Numbers of training rows. Null uses as many as the task's settings."""
    arms: tuple[str | ArmEntry, ...]
    """Methods of docs/arms.md, or variants of them."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of the runs. With three or more, the result is about methods and not only about single adapters."""
    compare: tuple[PairEntry, ...] = ()
    """The comparisons that the experiment is for, declared before it runs; the first is the primary one. Each is made
    on every task and size, paired by rows and seeds, and Holm's procedure corrects over these alone. In addition, every
    arm is tested against plain fine-tuning, corrected over all arms.
    """
    set: dict[str, Any] = Field(default_factory=dict)
    """Settings to change in every run, as a mapping from `a.b` to the value."""


class Cell(Record):
    """One combination, and the run that measures it. Cells with equal settings share a run."""

    task: str
    size: int | None
    arm: str
    seed: int
    measured: Measured
    """Which of the run's models represents the arm."""
    is_oracle: bool
    """Whether it measures the headroom with real rows."""
    config: RunConfig

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return Path(self.config.runs_folder) / self.config.name


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


def load_grid(path: Path) -> Grid:
    """Read a grid's YAML file.

    Raises:
        ConfigError: one line per problem, with file and key.
    """
    values = read_yaml(path, Grid)
    _refuse_settings_of_a_run(path, values)
    grid = parse_settings(Grid, values, origin=str(path))
    problems = [f"{path}: tasks.{name}: a name of letters, digits, '.', '_' or '-' is expected" for name in _odd(grid)]
    problems += [
        f"{path}: arms.{i}: {missing}"
        for i, name in enumerate(entry if isinstance(entry, str) else entry.like for entry in grid.arms)
        if (missing := find_missing(name, plugins.METHODS, built_in=METHODS))
    ]
    problems += _list_lost(path, grid)
    arms = {_name_of(arm) for arm in grid.arms}
    problems += [
        f"{path}: compare.{i}: the grid has no arm '{name}'. It has: {', '.join(sorted(arms))}.{suggest(name, arms)}"
        for i, pair in enumerate(grid.compare)
        for name in (pair.arm, pair.against)
        if name not in arms
    ]
    lists = {
        "tasks": list(grid.tasks),
        "arms": [_name_of(a) for a in grid.arms],
        "seeds": grid.seeds,
        "sizes": grid.sizes,
    }
    for key, listed in lists.items():
        if not listed or len(set(listed)) < len(listed):
            problems.append(f"{path}: {key}: {'a value appears twice' if listed else 'at least one is needed'}")
    if problems:
        raise ConfigError("\n".join(problems))
    return grid


def plan_cells(grid: Grid, datasets: DatasetSource) -> list[Cell]:
    """Every combination in the order of running: by task and size, with plain fine-tuning first, then the oracle, then the other arms.

    Raises:
        ConfigError: a run's settings are not valid, or the run would wait for a person.
        DatasetError: training rows cannot be counted.
    """
    cells: list[Cell] = []
    for task, entry in grid.tasks.items():
        base = load_config(Path(entry.config))
        base = apply_settings(base, {**grid.set, **entry.set}, origin=f"tasks.{task}")
        check_base(base, task)
        for size in grid.sizes:
            sized = fix_steps(take_subset(base, size), datasets)
            cells += _plan_arms(grid, task, size, base=base, sized=sized)
    return _share_runs(cells)


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
    """The settings with a fixed number of optimizer steps: as given, or as many as `epochs` need for the rows after one augmentation round."""
    if config.lora.n_steps is not None:
        return config
    n_train = len(datasets.read(config.data.train, limit=config.data.train_limit))
    n_rows = n_train + config.n_definitions + config.generation.count_rows(n_train)
    n_steps = max(1, round(config.lora.epochs * math.ceil(n_rows / config.lora.batch_size)))
    return apply_settings(config, {"lora.n_steps": n_steps}, origin="lora")


def _plan_arms(grid: Grid, task: str, size: int | None, *, base: RunConfig, sized: RunConfig) -> list[Cell]:
    cells = [_make_cell(grid, task, size, arm, seed, base, sized) for arm in grid.arms for seed in grid.seeds]
    return sorted(cells, key=lambda cell: (cell.measured == "augmented", not cell.is_oracle))


def _make_cell(
    grid: Grid, task: str, size: int | None, arm: str | ArmEntry, seed: int, base: RunConfig, sized: RunConfig
) -> Cell:
    name, like = (arm, arm) if isinstance(arm, str) else (arm.name, arm.like)
    method = find_method(like)
    own_steps = {"lora.n_steps": base.lora.n_steps} if like == "vanilla" else {}
    place = {
        "name": f"{task}-{size or 'all'}-{name}-s{seed}",
        "runs_folder": str(Path(grid.runs_folder) / grid.name),
        "shared_folder": SHARED,
        "seed": seed,
    }
    changes = {**own_steps, **method.settings, **({} if isinstance(arm, str) else arm.set), **place}
    config = apply_settings(sized, changes, origin=f"arms.{name}")
    is_oracle = config.generation.sources == "held_back"
    return Cell(task=task, size=size, arm=name, seed=seed, measured=method.measured, is_oracle=is_oracle, config=config)


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


def _list_lost(path: Path, grid: Grid) -> Iterator[str]:
    """Tasks whose settings are not there, and the nearest folder above the grid in which they would be."""
    for name, entry in grid.tasks.items():
        if not Path(entry.config).exists():
            homes = (folder for folder in path.resolve().parents if (folder / entry.config).is_file())
            hint = next((f". Its paths are relative to another folder: cd {shlex.quote(str(f))}" for f in homes), "")
            yield f"{path}: tasks.{name}.config: {entry.config}: no such file (looked from {Path.cwd()}){hint}"


def _name_of(arm: str | ArmEntry) -> str:
    return arm if isinstance(arm, str) else arm.name


def _odd(grid: Grid) -> Iterator[str]:
    return (name for name in grid.tasks if not re.match(FOLDER_NAME, name))
