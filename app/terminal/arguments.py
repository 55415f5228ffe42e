"""Parses and writes arguments of the `pada` command. Quick to import, as the command itself is."""

import shlex
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated

import typer

Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="A.B=C", help="Change one setting; can be used several times.")
]
MOST_AT_ONCE = 64
"""Maximum number of runs at once. With more, the one process that drives them would be the bottleneck."""


def word_experiment(grid: Path, headroom: bool, arms: str | None, seeds: str | None, n_at_once: int = 1) -> str:
    options = [
        ("--headroom", headroom),
        (f"--arms {shlex.quote(arms or '')}", arms),
        (f"--seeds {shlex.quote(seeds or '')}", seeds),
        (f"--parallel {n_at_once}", n_at_once > 1),
    ]
    return " ".join([f"pada experiment {shlex.quote(str(grid))}", *(text for text, given in options if given)])


def split_list(option: str, text: str | None) -> list[str]:
    """The items of an option such as `--arms a,b`; none if it is not given.

    Raises:
        ConfigError: it is given and names nothing, as with an empty variable of the shell.
    """
    from pada_agent.core.errors import ConfigError

    items = [item.strip() for item in (text or "").split(",") if item.strip()]
    if text is not None and not items:
        raise ConfigError(f"{option}: names nothing. List names separated by commas, or leave the option out")
    return items


def read_seed(text: str) -> int:
    from pada_agent.core.errors import ConfigError

    if not text.isdecimal():
        raise ConfigError(f"--seeds: '{text}' is not a seed; expected whole numbers separated by commas, such as 0,1")
    return int(text)


def read_n_at_once(text: str) -> int:
    from pada_agent.core.errors import ConfigError

    if not (text.isdecimal() and 1 <= int(text) <= MOST_AT_ONCE):
        raise ConfigError(
            f"--parallel: '{text}' is not a number of runs; expected a whole number from 1 to {MOST_AT_ONCE}"
        )
    return int(text)


def find_place(out: Path, given: Collection[str]) -> Mapping[str, object]:
    """The settings with which a run's folder is `out`.

    Args:
        given: keys that `--set` changes.

    Raises:
        ConfigError: one of these settings is among them.
    """
    from pada_agent.core.errors import ConfigError

    if both := next((key for key in ("name", "runs_folder") if key in given), None):
        raise ConfigError(f"--out {out} and --set {both}=… both name the run's folder. Leave one of them out.")
    out = out if out.name not in ("", "..") else out.resolve()
    return {"runs_folder": out.parent, "name": out.name}


def quote(text: object) -> str:
    """Text as a YAML string, so that a folder named 7 or `yes` stays text."""
    import json

    return json.dumps(str(text))
