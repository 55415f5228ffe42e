"""What a reader of a table should know about the runs and rows behind it. Only reads run folders."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from pada_agent.app.experiment.grid import Cell, group_cells
from pada_agent.app.experiment.measured import find_model, find_plain
from pada_agent.app.experiment.same_rows import Split, read_same_rows
from pada_agent.app.run_folder.layout import MANIFEST, load_summary
from pada_agent.app.run_folder.versions import tell_different
from pada_agent.core.config import RunConfig
from pada_agent.core.records import Example
from pada_agent.core.wording import count, list_some
from pada_agent.evaluation.rows.passages import check_passages
from pada_agent.graph.summary import RunSummary

N_ALARMS = 5
"""Maximum number of different alarms that are told; further ones are only counted."""


def describe_runs_of(cells: Sequence[Cell], split: Split) -> list[str]:
    """Notes on arms that came to the same, on training rows that were dropped, on rows about few passages, on alarms, and on different engines and versions.

    Args:
        split: the rows that the table is about.

    Raises:
        ArtifactError: a run is not finished, or its answers are missing.
        ConfigError: the runs of a task were measured on different rows.
    """
    runs = {cell.folder: (cell, load_summary(cell.folder)) for cell in cells}
    tasks: dict[str, list[tuple[Path, RunSummary]]] = {}
    for folder, (cell, summary) in runs.items():
        tasks.setdefault(cell.task, []).append((folder, summary))
    passages = [note for task, of_task in tasks.items() for note in _tell_passages(task, of_task, split)]
    alarms = tell_alarms((folder.name, summary.alarms) for folder, (_, summary) in runs.items())
    versions = tell_different(folder / MANIFEST for folder in runs)
    return [
        *_tell_alike(cells, runs),
        *_tell_dropped(runs.values()),
        *passages,
        *alarms,
        *tell_engines(cell.config for cell, _ in runs.values()),
        *([versions] if versions else []),
    ]


def tell_alarms(alarms: Iterable[tuple[str, Sequence[str]]]) -> list[str]:
    """One line for each different alarm, those of most runs first.

    Args:
        alarms: name and alarms of each run.
    """
    by_text: dict[str, list[str]] = {}
    for name, texts in alarms:
        for text in texts:
            by_text.setdefault(" ".join(text.split()), []).append(name)
    told = sorted(by_text.items(), key=lambda item: -len(item[1]))
    lines = [f"Alarm in {list_some(names)}: {text}" for text, names in told[:N_ALARMS]]
    more = sorted({name for _, names in told[N_ALARMS:] for name in names})
    n_more = len(told) - N_ALARMS
    return [
        *lines,
        *([f"{count(n_more, 'more alarm')} in {list_some(more)}: see report.html there."] if more else []),
    ]


def tell_engines(configs: Iterable[RunConfig]) -> list[str]:
    """That answers were written by different engines. Empty if they were not."""
    engines = sorted({config.student.engine for config in configs})
    if len(engines) < 2:
        return []
    return [
        f"The students' answers were written by different engines (student.engine: {' and '.join(engines)}). These round differently,"
        " which may be the reason for a difference."
    ]


def tell_passages(place: str, split: Split, rows: Sequence[Example]) -> list[str]:
    """That several rows ask about one passage, so that intervals are too narrow. Empty if they do not."""
    found = check_passages({split: rows}, {split: f"{split} rows of {place}"})
    return [finding.text for finding in found]


def _tell_passages(task: str, runs: Sequence[tuple[Path, RunSummary]], split: Split) -> list[str]:
    rows = read_same_rows(((folder, find_plain(summary)) for folder, summary in runs), split).examples
    return tell_passages(task, split, rows)


def _tell_alike(cells: Sequence[Cell], runs: Mapping[Path, tuple[Cell, RunSummary]]) -> Iterator[str]:
    """Arms with different settings whose adapters are the same, because the same rows joined."""
    alike: dict[tuple[str, int | None, tuple[str | None, ...]], dict[tuple[Path, ...], str]] = {}
    for (task, size, arm), group in group_cells(cells).items():
        models = [find_model(runs[cell.folder][1], cell) for cell in group]
        if all(model.iteration for model in models):
            of_adapters = alike.setdefault((task, size, tuple(model.adapter for model in models)), {})
            of_adapters.setdefault(tuple(cell.folder for cell in group), arm)
    for (task, size, _), arms in alike.items():
        if len(arms) > 1:
            place = f"{task} ({size} rows)" if size else task
            yield f"On {place}, {list_some([*arms.values()])} trained the same adapters: what differs in their settings changed nothing."


def _tell_dropped(runs: Iterable[tuple[Cell, RunSummary]]) -> Iterator[str]:
    """Sizes of which not all rows were trained on. Nothing where definitions count as rows, too."""
    trained: dict[tuple[str, int], list[int]] = {}
    for cell, summary in runs:
        n_rows = find_plain(summary).n_train_rows
        if cell.size is not None and n_rows < cell.size and not cell.config.n_definitions:
            trained.setdefault((cell.task, cell.size), []).append(n_rows)
    for (task, size), counts in trained.items():
        yield (
            f"{task} ({size} rows): {min(counts)} were trained on. The others repeat earlier ones, or are also in validation or test."
        )
