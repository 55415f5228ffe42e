"""Reads the answers that are compared, and checks that they are to the same rows: a data set may have changed between two runs, or how it is read."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from pada_agent.app.results.publish import read_tested, read_validated
from pada_agent.core.errors import ConfigError
from pada_agent.core.records import Example, ScoredRow
from pada_agent.graph.summary import ModelResult

Split = Literal["test", "validation"]


def read_answers(folder: Path, model: ModelResult, split: Split) -> list[ScoredRow]:
    """A model's answers with their verdicts, sorted by row id, because every seed puts validation rows in a different order.

    Raises:
        ArtifactError: they are missing or damaged.
    """
    read = read_tested if split == "test" else read_validated
    return sorted(read(folder, model), key=lambda row: row.verdict.example_id)


def check_same_rows(answers: Iterable[tuple[Path, Sequence[ScoredRow]]], split: Split) -> None:
    """Check that all of these are answers to the same rows, with the same right answers.

    Args:
        answers: run folder and sorted answers.

    Raises:
        ConfigError: they are not. The message names two runs and the first row that differs.
    """
    first, ours = None, list[Example]()
    for folder, rows in answers:
        theirs = [row.example for row in rows]
        if first is None:
            first, ours = folder, theirs
        elif other := _find_other(ours, theirs):
            raise ConfigError(
                f"{first} and {folder} cannot be compared: {split} row '{other}' differs, or only one of them has it. The data set, or"
                " how pada-agent reads it, has changed between these runs. Delete the folders of those with the old rows, and run the"
                " same command again."
            )


def _find_other(ours: Sequence[Example], theirs: Sequence[Example]) -> str:
    """The id of the first row that differs. Empty if none does."""
    here, there = ({row.id: row for row in rows} for rows in (ours, theirs))
    return next((id for id in sorted(here.keys() | there.keys()) if here.get(id) != there.get(id)), "")
