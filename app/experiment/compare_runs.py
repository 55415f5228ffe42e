"""Compares finished runs side by side, with paired tests on the same test rows."""

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

from pada_agent.app.experiment.fixed_settings import find_scored_otherwise
from pada_agent.app.experiment.run_notes import tell_alarms, tell_engines, tell_passages
from pada_agent.app.report.tables import describe_comparison
from pada_agent.app.results.publish import read_tested
from pada_agent.app.run_folder.layout import MANIFEST, load_run_config, load_summary
from pada_agent.app.run_folder.versions import tell_different
from pada_agent.app.text import align_columns, interval, percent
from pada_agent.core.errors import ConfigError
from pada_agent.core.records import Record, ScoredRow
from pada_agent.core.wording import agree, count
from pada_agent.evaluation.statistics import adjust_holm, compare_paired, word_difference
from pada_agent.graph.summary import Comparison, ModelResult


class ComparedRun(Record):
    """A run, and its best model."""

    label: str
    """Run folder and model."""
    seed: int
    arm: ModelResult


class RunsCompared(Record):
    """All runs, and all pairs of them."""

    runs: tuple[ComparedRun, ...]
    comparisons: tuple[Comparison, ...]
    """Verdicts are after Holm's correction over all pairs."""
    notes: tuple[str, ...] = ()
    """What readers should know."""


def compare_runs(folders: Sequence[Path]) -> RunsCompared:
    """Compare the runs by their best models (each selected on its own selection part), with paired tests on test.

    Raises:
        ConfigError: there are fewer than two runs, or their test rows differ, or settings that decide which answers are right.
        ArtifactError: a run is not finished, or has kept no test answers.
    """
    if len(folders) < 2 or len({folder.resolve() for folder in folders}) < len(folders):
        raise ConfigError("pada compare: name two or more different runs")
    summaries = [load_summary(folder) for folder in folders]
    best = [summary.best for summary in summaries]
    tested = [read_tested(folder, arm) for folder, arm in zip(folders, best, strict=True)]
    for folder, rows in zip(folders[1:], tested[1:], strict=True):
        check_same_rows(folders[0], tested[0], folder, rows)
        check_same_scoring(folders[0], folder)
    runs = tuple(
        ComparedRun(label=f"{folder}: {arm.name}", seed=summary.seed, arm=arm)
        for folder, summary, arm in zip(folders, summaries, best, strict=True)
    )
    notes = [
        tell_different(folder / MANIFEST for folder in folders),
        *tell_engines(map(load_run_config, folders)),
        *map(_tell_unscored, runs),
        *tell_passages(str(folders[0]), "test", [row.example for row in tested[0]]),
        *tell_alarms((str(folder), summary.alarms) for folder, summary in zip(folders, summaries, strict=True)),
    ]
    return RunsCompared(
        runs=runs,
        comparisons=tuple(_compare_pairs([run.label for run in runs], tested)),
        notes=tuple(filter(None, notes)),
    )


def check_same_rows(first: Path, ours: Sequence[ScoredRow], other: Path, theirs: Sequence[ScoredRow]) -> None:
    """Check that both runs were measured on the same rows in the same order.

    Raises:
        ConfigError: they were not. The message shows the first row that differs.
    """
    if len(ours) != len(theirs):
        raise ConfigError(f"{first} and {other} cannot be compared: {len(ours)} and {len(theirs)} test rows")
    for number, (one, two) in enumerate(zip(ours, theirs, strict=True), start=1):
        if one.example != two.example:
            raise ConfigError(
                f"{first} and {other} cannot be compared: test row {number} differs"
                f" ('{one.example.id}' and '{two.example.id}'). Only runs with the same test rows and task settings can be compared."
            )


def check_same_scoring(first: Path, other: Path) -> None:
    """Check that both runs had the same idea of a right answer.

    Raises:
        ConfigError: they had not. The message names the settings that differ.
        ArtifactError: the settings of a run are missing or damaged.
    """
    if differ := find_scored_otherwise(load_run_config(first), load_run_config(other)):
        raise ConfigError(
            f"{first} and {other} cannot be compared: {', '.join(differ)} {agree(len(differ), 'differs', 'differ')}, so"
            " their answers were scored differently. Run one of them again with the settings of the other."
        )


def describe_runs(compared: RunsCompared) -> str:
    """The comparison as text for a terminal."""
    header = ["run", "seed", "rows", "synthetic", "steps", "test n", "test", "95% interval"]
    table = align_columns([header, *map(_to_row, compared.runs)])
    corrected = f"Verdicts are corrected for {len(compared.comparisons)} comparisons (Holm); p-values are not.\n"
    adapters = "Each run is one adapter: the tests are about these adapters, not about methods.\n"
    tests = "\n".join(describe_comparison(c) for c in compared.comparisons)
    notes = "".join(f"{note}\n" for note in compared.notes)
    return f"{table}\n\n{tests}\n\n{corrected * (len(compared.comparisons) > 1)}{adapters}{notes}"


def _compare_pairs(labels: Sequence[str], tested: Sequence[Sequence[ScoredRow]]) -> list[Comparison]:
    pairs = list(combinations(range(len(labels)), 2))
    verdicts = [[row.verdict for row in rows] for rows in tested]
    tests = [compare_paired(verdicts[i], verdicts[j]) for i, j in pairs]
    return [
        Comparison(
            before=labels[i],
            after=labels[j],
            split="test",
            verdict=word_difference(test.difference, p_holm),
            **test.model_dump(exclude={"words"}),
        )
        for (i, j), test, p_holm in zip(pairs, tests, adjust_holm([t.p_value for t in tests]), strict=True)
    ]


def _tell_unscored(run: ComparedRun) -> str:
    """Empty if all test answers were scored."""
    n = run.arm.test.n_unscored if run.arm.test else 0
    return (
        f"{run.label}: {count(n, 'answer')} could not be scored, and {agree(n, 'counts', 'count')} as not correct."
        * bool(n)
    )


def _to_row(run: ComparedRun) -> list[str]:
    arm, test = run.arm, run.arm.test
    measured = [str(test.n), percent(test.accuracy), interval(test)] if test else ["", "", ""]
    steps = "" if arm.n_steps is None else str(arm.n_steps)
    return [run.label, str(run.seed), str(arm.n_train_rows), str(arm.n_synthetic), steps, *measured]
