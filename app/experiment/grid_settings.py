"""The settings of an experiment's grid, as its YAML file gives them."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, PrivateAttr

from pada_agent.core.config import RunConfig, Settings
from pada_agent.core.config_files import expand_home
from pada_agent.core.errors import ConfigError
from pada_agent.core.setting_kinds import SettingOf
from pada_agent.core.setting_texts import NewFolder
from pada_agent.core.settings import FOLDER_NAME, LONGEST_NAME, Seed

LocalPath = Annotated[str, AfterValidator(expand_home)]
Changes = dict[str, Annotated[Any, SettingOf(RunConfig)]]
"""Settings of a run by dotted key, read as in its own file."""


class TaskEntry(Settings):
    """One task of the grid."""

    config: LocalPath
    """YAML file with the run's settings, relative to the working directory."""
    set: Changes = Field(default_factory=dict)
    """Settings to change, as a mapping from `a.b` to the value. Takes precedence over the grid's `set`."""


class ArmEntry(Settings):
    """A method with changed settings."""

    name: str = Field(pattern=FOLDER_NAME, max_length=LONGEST_NAME)
    """Its name in the table."""
    like: str
    """The method that it is a variant of."""
    set: Changes = Field(default_factory=dict)
    """Settings to change, as a mapping from `a.b` to the value. Not those that decide which rows are answered, and what counts as right."""


class PairEntry(Settings):
    """Two arms to compare with each other."""

    arm: str
    against: str


class Grid(Settings):
    """Tasks × sizes × arms × seeds. Every combination is a run."""

    name: str = Field(pattern=FOLDER_NAME, max_length=LONGEST_NAME)
    """Name of the experiment's folder below `runs_folder`."""
    runs_folder: Annotated[NewFolder, AfterValidator(expand_home)] = "runs"
    """Relative to the working directory."""
    tasks: dict[str, TaskEntry]
    """Tasks by the name that the table shows."""
    sizes: tuple[Annotated[int, Field(ge=1)] | None, ...] = (None,)
    """Numbers of training rows. Null uses as many as the task's settings."""
    arms: tuple[str | ArmEntry, ...]
    """Methods of docs/arms.md, or variants of them."""
    seeds: tuple[Seed, ...] = (0, 1, 2)
    """Seeds of the runs. With three or more, the result is about methods and not only about single adapters."""
    compare: tuple[PairEntry, ...] = ()
    """The comparisons that the experiment is for, declared before it runs; the first is the primary one. Each is made
    on every task and size, paired by rows and seeds, and Holm's procedure corrects over these alone. In addition, every
    arm is tested against plain fine-tuning, corrected over all arms.
    """
    set: Changes = Field(default_factory=dict)
    """Settings to change in every run, as a mapping from `a.b` to the value. A group (`lora: {n_steps: 5}`) changes only the settings that it names.
    What the grid decides, such as the seed, cannot be set."""
    _file: str = PrivateAttr(default="")

    @property
    def is_sized(self) -> bool:
        """Whether it decides the number of training rows of any run."""
        return any(size is not None for size in self.sizes)

    def read_from(self, path: Path) -> None:
        """Remember the file, which errors name."""
        self._file = str(path)

    def refuse(self, problems: Iterable[str]) -> None:
        """Does nothing if there are no problems.

        Raises:
            ConfigError: one line per problem, with the grid's file.
        """
        if lines := list(dict.fromkeys(problems)):
            raise ConfigError("\n".join(f"{self._file}: {line}" if self._file else line for line in lines))


def name_run(task: str, size: int | None, arm: str, seed: int) -> str:
    """The name of a run, and of its folder."""
    return f"{task}-{size or 'all'}-{arm}-s{seed}"


def name_of(arm: str | ArmEntry) -> str:
    """The arm's name in the table."""
    return arm if isinstance(arm, str) else arm.name


def method_of(arm: str | ArmEntry) -> str:
    """The method that the arm is, or is a variant of."""
    return arm if isinstance(arm, str) else arm.like
