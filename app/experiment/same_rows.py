"""Reads the answers that are compared, and checks that they are to the same rows: a data set may have changed between two runs, or how it is read."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from pada_agent.app.results.publish import read_tested, read_validated
from pada_agent.core.errors import ConfigError
from pada_agent.core.records import Example, Verdict
from pada_agent.graph.summary import ModelResult

Split = Literal["test", "validation"]


class SameRows(NamedTuple):
    """What several models answered to the same rows, sorted by row id, because every seed puts validation rows in a different order."""

    examples: list[Example]
    verdicts: list[list[Verdict]]
    """For each model."""


def read_same_rows(models: Iterable[tuple[Path, ModelResult]], split: Split) -> SameRows:
    """Read the models' answers, of which only one at a time is held in memory.

    Args:
        models: each with its run's folder.

    Raises:
        ArtifactError: answers are missing or damaged.
        ConfigError: they are to different rows. The message names two runs and the first row that differs.
    """
    read = read_tested if split == "test" else read_validated
    first: tuple[Path, dict[str, Example]] | None = None
    verdicts = []
    for folder, model in models:
        answers = sorted(read(folder, model), key=lambda row: row.verdict.example_id)
        rows = {row.example.id: row.example for row in answers}
        if first is None:
            first = folder, rows
        elif other := _find_other(first[1], rows):
            raise ConfigError(
                f"{first[0]} and {folder} cannot be compared: {split} row '{other}' differs, or only one of them has it. The data set, or"
                " how pada-agent reads it, has changed between these runs. Delete the folders of those with the old rows, and run the"
                " same command again."
            )
        verdicts.append([row.verdict for row in answers])
    return SameRows([*first[1].values()] if first else [], verdicts)


def _find_other(ours: Mapping[str, Example], theirs: Mapping[str, Example]) -> str:
    """The id of the first row that differs. Empty if none does."""
    return next((id for id in sorted(ours.keys() | theirs.keys()) if ours.get(id) != theirs.get(id)), "")
