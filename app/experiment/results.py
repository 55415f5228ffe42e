"""Turns finished runs into the comparison of methods. Only reads run folders and computes figures."""

from collections.abc import Iterable, Sequence

from pydantic import Field

from pada_agent.app.experiment.grid import Cell, PairEntry, group_cells
from pada_agent.app.experiment.history import History
from pada_agent.app.experiment.measured import count_steps, find_model, find_plain
from pada_agent.app.experiment.run_notes import describe_runs_of
from pada_agent.app.experiment.same_rows import Split, read_same_rows
from pada_agent.app.prerequisites import list_unpriced
from pada_agent.app.report.reading import read_elapsed
from pada_agent.app.run_folder.layout import EVENTS, load_summary
from pada_agent.core.records import Record, Usage
from pada_agent.core.wording import count
from pada_agent.evaluation.statistics import MethodTest, Words, adjust_holm, compare_methods, word_difference
from pada_agent.graph.summary import ModelResult, RunSummary

Steps = tuple[int | None, ...]
"""Optimizer steps of a model for each seed. None if they were not reported."""


class ArmOutcome(Record):
    """One arm on one task and size, over its seeds."""

    task: str
    size: int | None
    arm: str
    also: tuple[str, ...] = ()
    """Other arms that amount to the same here."""
    seeds: tuple[int, ...]
    runs: tuple[str, ...]
    """Run folder for each seed."""
    models: tuple[str, ...]
    """Name of the measured model for each seed."""
    n_synthetic: tuple[int, ...]
    """Number of synthetic rows that the measured model was trained on, for each seed."""
    n_joined: tuple[int, ...]
    """Number of rows that joined the training rows in any round of the run, for each seed. Fewer than requested if checks rejected some."""
    n_requested: tuple[int, ...]
    """Number of rows that should have joined, in all rounds of the run."""
    n_steps: Steps
    n_plain_steps: Steps = ()
    """Steps of the plain fine-tuning that it is compared with. Empty for arms without augmentation."""
    is_chosen: bool = False
    """Whether the model is the best of several iterations, so that the selection part of validation flatters it."""
    accuracy: tuple[float, ...]
    """Accuracy on `split`, for each seed."""
    split: Split = "test"
    """`validation` if the runs had no test rows to read, as with `--headroom`."""
    n_unscored: tuple[int, ...] = ()
    """Number of answers on `split` that could not be scored and so count as not correct, for each seed."""
    test: MethodTest | None = None
    """Compared with the first fine-tuning of the same runs, on the same rows of `split`. None for arms without augmentation."""
    headroom: MethodTest | None = None
    """For the oracle: the same on validation, which may be looked at before methods are compared."""
    p_holm: float | None = None
    """P-value corrected over all tasks, sizes and arms of the experiment."""
    words: Words | None = None
    """The result after that correction."""
    is_oracle: bool = False
    """Whether it adds real rows. It then measures the headroom and is not one of the compared methods."""
    usage: Usage = Usage()
    """LLM usage of all seeds. What another arm has paid for counts as cached."""
    unpriced: tuple[str, ...] = ()
    """Roles that were asked, may cost money and have no price."""
    hours: float = 0.0
    """Time during which the runs of all seeds were running. Work that was shared with another arm counts where it was done."""

    @property
    def mean(self) -> float:
        """Mean accuracy over seeds."""
        return sum(self.accuracy) / len(self.accuracy)


class PairOutcome(Record):
    """Two arms compared on one task and size, as declared beforehand."""

    task: str
    size: int | None
    arm: str
    against: str
    is_primary: bool
    test: MethodTest
    """`arm` compared with `against`, on the same test rows and seeds."""
    n_steps: Steps = ()
    """Steps of `arm`."""
    n_steps_against: Steps = ()
    p_holm: float
    """P-value corrected over the declared comparisons."""
    words: Words
    """The result after that correction."""


class ExperimentResult(Record):
    """The whole result, and what readers should know about it."""

    name: str
    outcomes: tuple[ArmOutcome, ...]
    pairs: tuple[PairOutcome, ...] = ()
    """In the order of the grid's `compare`."""
    notes: tuple[str, ...] = Field(default_factory=tuple)
    history: History | None = None
    """What the tables of the grid have shown so far. None for a part of a grid, and in results of earlier versions."""

    @property
    def split(self) -> Split:
        """The rows on which accuracy was measured."""
        return self.outcomes[0].split if self.outcomes else "test"


def collect_result(name: str, cells: Sequence[Cell], compare: Sequence[PairEntry] = ()) -> ExperimentResult:
    """The outcome of all cells, which must be finished.

    Args:
        compare: pairs of arms to compare. Pairs with an arm that is not among the cells are left out.

    Raises:
        ArtifactError: a run is not finished, or has kept no test answers.
        ConfigError: the runs of a task were measured on different rows.
    """
    pairs, groups = compare_pairs(compare, cells), group_cells(cells).values()
    measured = [measure_arm(group, n_tests=count_tests(groups)) for group in groups]
    outcomes = correct_for_number(merge_equal(measured))
    split: Split = "test" if cells[0].config.data.test else "validation"
    notes = [*describe_limits(outcomes, pairs), *describe_runs_of(cells, split)]
    return ExperimentResult(name=name, outcomes=tuple(outcomes), pairs=tuple(pairs), notes=tuple(notes))


def count_tests(groups: Iterable[Sequence[Cell]]) -> int:
    """Number of comparisons with plain fine-tuning that `correct_for_number` corrects for, or 1 if there are none.

    Args:
        groups: each arm's cells on one task and size.
    """
    compared = [cells for cells in groups if cells[0].represented == "augmented" and not cells[0].is_oracle]
    return max(1, len({tuple(cell.folder for cell in cells) for cells in compared}))


def measure_arm(cells: Sequence[Cell], *, n_tests: int = 1) -> ArmOutcome:
    """One arm on one task and size.

    Args:
        n_tests: number of comparisons that Holm's procedure corrects for. The oracle's is not one of them.
    """
    summaries = [load_summary(cell.folder) for cell in cells]
    models = [find_model(summary, cell) for summary, cell in zip(summaries, cells, strict=True)]
    first, augmented = cells[0], cells[0].measured == "augmented"
    split: Split = "test" if first.config.data.test else "validation"
    measured = [model.test if split == "test" else model.validation for model in models]
    return ArmOutcome(
        task=first.task,
        size=first.size,
        arm=first.arm,
        seeds=tuple(cell.seed for cell in cells),
        runs=tuple(str(cell.folder) for cell in cells),
        models=tuple(model.name for model in models),
        n_synthetic=tuple(model.n_synthetic for model in models),
        n_joined=tuple(s.rows.accepted for s in summaries),
        n_requested=tuple(s.rows.requested for s in summaries),
        n_steps=tuple(map(count_steps, models)),
        n_plain_steps=tuple(find_plain(s).n_steps for s in summaries) if augmented else (),
        is_chosen=augmented and any(sum(bool(model.iteration) for model in s.models) > 1 for s in summaries),
        accuracy=tuple(metrics.accuracy if metrics else 0.0 for metrics in measured),
        split=split,
        n_unscored=tuple(metrics.n_unscored if metrics else 0 for metrics in measured),
        test=compare_with_plain(cells, summaries, models, split, n_tests=1 if first.is_oracle else n_tests)
        if augmented
        else None,
        headroom=compare_with_plain(cells, summaries, models, "validation") if first.is_oracle else None,
        is_oracle=first.is_oracle,
        usage=sum((u for s in summaries for u in s.usage.values()), Usage()),
        unpriced=tuple(
            sorted(
                {role for cell, s in zip(cells, summaries, strict=True) for role in list_unpriced(cell.config, s.usage)}
            )
        ),
        hours=sum(map(_count_seconds, cells, summaries)) / 3600,
    )


def compare_with_plain(
    cells: Sequence[Cell],
    summaries: Sequence[RunSummary],
    models: Sequence[ModelResult],
    split: Split,
    *,
    n_tests: int = 1,
) -> MethodTest:
    """Compare the arm's models with the first fine-tuning of the same runs.

    Raises:
        ConfigError: the runs were measured on different rows.
    """
    return _compare(cells, list(map(find_plain, summaries)), cells, models, split, n_tests=n_tests)


def compare_pairs(compare: Sequence[PairEntry], cells: Sequence[Cell]) -> list[PairOutcome]:
    """The declared comparisons on every task and size, corrected over all of them.

    Raises:
        ArtifactError: a run is not finished, or has kept no test answers.
        ConfigError: arms were measured on different rows.
    """
    groups = group_cells(cells)
    places = list(dict.fromkeys((task, size) for task, size, _ in groups))
    wanted = [
        (pair, place)
        for pair in compare
        for place in places
        if (*place, pair.arm) in groups and (*place, pair.against) in groups
    ]
    tests = [
        _compare_arms(groups[*place, pair.against], groups[*place, pair.arm], n_tests=len(wanted))
        for pair, place in wanted
    ]
    adjusted = adjust_holm([test.p_value for test in tests])
    return [
        PairOutcome(
            task=place[0],
            size=place[1],
            arm=pair.arm,
            against=pair.against,
            is_primary=pair == compare[0],
            test=test,
            n_steps=_steps_of(groups[*place, pair.arm]),
            n_steps_against=_steps_of(groups[*place, pair.against]),
            p_holm=p_holm,
            words=word_difference(test.difference, p_holm),
        )
        for (pair, place), test, p_holm in zip(wanted, tests, adjusted, strict=True)
    ]


def merge_equal(outcomes: Sequence[ArmOutcome]) -> list[ArmOutcome]:
    """Merge arms that have the same runs and the same models into one row."""
    merged: dict[tuple[tuple[str, ...], tuple[str, ...]], ArmOutcome] = {}
    for outcome in outcomes:
        key = (outcome.runs, outcome.models)
        first = merged.get(key)
        merged[key] = first.model_copy(update={"also": (*first.also, outcome.arm)}) if first else outcome
    return list(merged.values())


def correct_for_number(outcomes: Sequence[ArmOutcome]) -> list[ArmOutcome]:
    """The outcomes with p-values corrected by Holm's procedure. The oracle is not counted, because it is not a method."""
    compared = [o for o in outcomes if o.test and not o.is_oracle]
    adjusted = dict(zip(map(id, compared), adjust_holm([o.test.p_value for o in compared if o.test]), strict=True))
    return [_word(outcome, adjusted.get(id(outcome))) for outcome in outcomes]


def describe_headroom(outcome: ArmOutcome) -> str | None:
    """A warning if real rows in place of synthetic ones show no gain on validation. None if they do."""
    t = outcome.headroom
    if t is None or t.words == "gained":
        return None
    could_show = "no difference" if t.smallest_shown > 1 else f"{100 * t.smallest_shown:.1f}"
    steps, plain = outcome.n_steps, outcome.n_plain_steps
    at = (
        f"{list_steps(steps)} steps against {list_steps(plain)}"
        if are_unequal(steps, plain)
        else "the same number of steps"
    )
    most = f"gain more than {100 * t.high:.1f} points" if t.high > 0 else "win"
    return (
        f"no headroom shown on {place(outcome)}: {_span(outcome.n_synthetic)} more real rows change validation accuracy by"
        f" {100 * t.difference:+.1f} points ({100 * t.low:+.1f} to {100 * t.high:+.1f}) at {at}; {t.n} rows and"
        f" {count(len(t.by_seed), 'seed')} could show {could_show}. No method can be expected to {most} here."
    )


def describe_limits(outcomes: Sequence[ArmOutcome], pairs: Sequence[PairOutcome] = ()) -> list[str]:
    """What readers of the table should know."""
    notes = [
        f"On {place(o)}, {o.arm} and {', '.join(o.also)} are one arm: their settings are equal."
        for o in outcomes
        if o.also
    ]
    if any(o.split == "validation" for o in outcomes):
        chosen = " Part of these rows also chose the oracle's iteration, so its gain is probably too high."
        is_flattered = any(o.split == "validation" and o.is_chosen for o in outcomes)
        notes.append(f"Accuracy is on validation: --headroom reads no test row.{chosen * is_flattered}")
    notes += [f"Warning: {text}" for o in outcomes if o.is_oracle and (text := describe_headroom(o))]
    if any(o.test and o.test.speaks_of == "adapters" for o in outcomes):
        notes.append("Two seeds or fewer: the tests are about these adapters, not about the methods.")
    notes += [
        f"{o.arm} on {place(o)}: {_span(o.n_joined)} of the {_span(o.n_requested)} rows asked for joined the training rows, over all rounds."
        for o in outcomes
        if o.test and o.n_joined != o.n_requested
    ]
    notes += [
        f"{o.arm} on {place(o)}: {_span(o.n_unscored)} {o.split} answers could not be scored, and count as not correct."
        for o in outcomes
        if any(o.n_unscored)
    ]
    if unpriced := sorted({role for o in outcomes for role in o.unpriced}):
        notes.append(f"No prices set for {', '.join(f'models.{role}' for role in unpriced)}, so cost is not known.")
    steps: list[tuple[str, ArmOutcome | PairOutcome, Steps, Steps]]
    steps = [(f"{o.arm} against plain fine-tuning", o, o.n_steps, o.n_plain_steps) for o in outcomes if o.test]
    steps += [(f"{pair.arm} against {pair.against}", pair, pair.n_steps, pair.n_steps_against) for pair in pairs]
    notes += [
        f"{name} on {place(of)}: {list_steps(own)} steps against {list_steps(others)}, so the steps may be the reason for a difference."
        for name, of, own, others in steps
        if are_unequal(own, others)
    ]
    return notes


def are_unequal(steps: Steps, others: Steps) -> bool:
    """Whether two arms were trained for different numbers of steps, as far as is known."""
    return any(None not in pair and pair[0] != pair[1] for pair in zip(steps, others, strict=False))


def list_steps(steps: Steps) -> str:
    """One number if all seeds agree, otherwise one for each seed."""
    words = ["?" if n is None else str(n) for n in steps]
    return words[0] if len(set(words)) == 1 else " ".join(words)


def place(outcome: ArmOutcome | PairOutcome) -> str:
    """Task and size in words."""
    return f"{outcome.task} ({outcome.size} rows)" if outcome.size else outcome.task


def _word(outcome: ArmOutcome, p_holm: float | None) -> ArmOutcome:
    if outcome.test is None:
        return outcome
    p_value = outcome.test.p_value if p_holm is None else p_holm
    words = word_difference(outcome.test.difference, p_value)
    return outcome.model_copy(update={"p_holm": p_holm, "words": words})


def _compare_arms(before: Sequence[Cell], after: Sequence[Cell], *, n_tests: int) -> MethodTest:
    ours, theirs = ([find_model(load_summary(cell.folder), cell) for cell in cells] for cells in (before, after))
    return _compare(before, ours, after, theirs, "test", n_tests=n_tests)


def _compare(
    before: Sequence[Cell],
    ours: Sequence[ModelResult],
    after: Sequence[Cell],
    theirs: Sequence[ModelResult],
    split: Split,
    *,
    n_tests: int,
) -> MethodTest:
    """Compare models of the runs `after` with models of the runs `before`, in the order of the seeds."""
    models = [(cell.folder, model) for cell, model in zip([*before, *after], [*ours, *theirs], strict=True)]
    verdicts = read_same_rows(models, split).verdicts
    return compare_methods(verdicts[: len(before)], verdicts[len(before) :], n_tests=n_tests)


def _steps_of(cells: Sequence[Cell]) -> Steps:
    return tuple(count_steps(find_model(load_summary(cell.folder), cell)) for cell in cells)


def _count_seconds(cell: Cell, summary: RunSummary) -> float:
    """As its report says. Without a record of events, the sum over stages, which count twice where they overlap."""
    elapsed = read_elapsed(cell.folder / EVENTS)
    return elapsed.running if elapsed else sum(summary.seconds_by_stage.values())


def _span(counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    return str(low) if low == high else f"{low} to {high}"
