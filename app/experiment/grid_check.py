"""What is wrong with a grid, as far as its own file shows it."""

import re
import shlex
from collections.abc import Iterator
from itertools import product
from pathlib import Path

from pada_agent.app.experiment.fixed_settings import find_fixed
from pada_agent.app.experiment.grid_settings import Grid, method_of, name_of, name_run
from pada_agent.app.experiment.methods import METHODS
from pada_agent.core import plugins
from pada_agent.core.plugins import find_missing
from pada_agent.core.settings import FOLDER_NAME, LONGEST_NAME
from pada_agent.core.suggestions import suggest


def list_problems(path: Path, grid: Grid) -> Iterator[str]:
    """All that can be said without the settings of its tasks, with keys."""
    for name in grid.tasks:
        if not re.fullmatch(FOLDER_NAME, name):
            yield f"tasks.{name}: a name of letters, digits, '.', '_' or '-' is expected"
    for i, arm in enumerate(grid.arms):
        if missing := find_missing(method_of(arm), plugins.METHODS, built_in=METHODS):
            yield f"arms.{i}: {missing}"
    yield from _list_lost(path, grid)
    yield from _list_idle_pairs(grid)
    yield from _list_fixed(grid)
    yield from _list_unusable_names(grid)
    names = list(map(name_of, grid.arms))
    lists = {"tasks": list(grid.tasks), "arms": names, "seeds": grid.seeds, "sizes": grid.sizes}
    for key, listed in lists.items():
        if not listed or len(set(listed)) < len(listed):
            yield f"{key}: {'a value appears twice' if listed else 'at least one is needed'}"


def _list_unusable_names(grid: Grid) -> Iterator[str]:
    """Tasks and arms whose runs would have names that are too long, or that are those of other runs."""
    taken: dict[str, tuple[str, str]] = {}
    for task, size, arm in product(grid.tasks, grid.sizes, map(name_of, grid.arms)):
        name = max((name_run(task, size, arm, seed) for seed in grid.seeds), key=len, default="")
        if len(name) > LONGEST_NAME:
            yield (
                f"tasks.{task}: with arm '{arm}', the name of a run has {len(name)} characters, and {LONGEST_NAME} are the most. Shorten one"
                " of the two names"
            )
        if name and (other := taken.setdefault(name, (task, arm))) != (task, arm):
            yield f"tasks.{task}: with arm '{arm}', runs have the names of those of tasks.{other[0]} with arm '{other[1]}'. Rename one"


def _list_lost(path: Path, grid: Grid) -> Iterator[str]:
    """Tasks whose settings are not there, and the nearest folder above the grid in which they would be."""
    for name, entry in grid.tasks.items():
        if Path(entry.config).is_dir():
            yield f"tasks.{name}.config: {entry.config}: is a folder. Name the YAML file with the run's settings"
        elif not Path(entry.config).exists():
            homes = (folder for folder in path.resolve().parents if (folder / entry.config).is_file())
            hint = next((f". Its paths are relative to another folder: cd {shlex.quote(str(f))}" for f in homes), "")
            yield f"tasks.{name}.config: {entry.config}: no such file (in {Path.cwd()}){hint}"


def _list_idle_pairs(grid: Grid) -> Iterator[str]:
    """Comparisons with an arm that is not there, of an arm with itself, or declared before."""
    arms = {name_of(arm) for arm in grid.arms}
    known: dict[frozenset[str], int] = {}
    for i, pair in enumerate(grid.compare):
        missing = [name for name in (pair.arm, pair.against) if name not in arms]
        for name in missing:
            has = ", ".join(sorted(arms))
            yield f"compare.{i}: the grid has no arm '{name}'. It has: {has}.{suggest(name, arms)}"
        first = known.setdefault(frozenset((pair.arm, pair.against)), i)
        if pair.arm == pair.against:
            yield f"compare.{i}: '{pair.arm}' is compared with itself. Name two arms"
        elif first < i:
            yield f"compare.{i}: '{pair.arm}' and '{pair.against}' are compared by compare.{first} already. Remove one"


def _list_fixed(grid: Grid) -> Iterator[str]:
    """Settings in any `set` that cannot be changed there."""
    is_decided = None not in grid.sizes
    yield from (f"set: {problem}" for problem in find_fixed(grid.set, is_sized=is_decided, of_arm=False))
    for task, entry in grid.tasks.items():
        yield from (f"tasks.{task}: {problem}" for problem in find_fixed(entry.set, is_sized=is_decided, of_arm=False))
    for arm in grid.arms:
        if not isinstance(arm, str):
            yield from (
                f"arms.{arm.name}: {problem}" for problem in find_fixed(arm.set, is_sized=grid.is_sized, of_arm=True)
            )
