"""What a table says about choices that were made after an earlier table of the same grid."""

from pathlib import Path

from pada_agent.app.experiment.history import carry_on, read_earlier
from pada_agent.app.experiment.results import ExperimentResult, PairOutcome
from pada_agent.app.experiment.tables import write_tables
from tests.unit.app.experiment.test_experiment import make_test, outcome, pair


def with_arms(
    *seeds: int, pairs: tuple[PairOutcome, ...] = (), arms: tuple[str, ...] = ("pada", "auggpt", "le")
) -> ExperimentResult:
    test = make_test(0.03, 0.02)
    outcomes = tuple(outcome(arm, test, seeds=seeds) for arm in arms)
    return ExperimentResult(name="grid", outcomes=outcomes, pairs=pairs, notes=("a note",))


def test_what_was_chosen_after_a_look_at_results_is_told(tmp_path: Path) -> None:
    declared, late = pair(), pair(against="le")
    first = carry_on(with_arms(0, 1, 2, pairs=(declared,)), None)
    assert first.notes == ("a note",) == carry_on(with_arms(0, 1, 2, pairs=(declared,)), first).notes
    write_tables(first, tmp_path)
    read = read_earlier(tmp_path / "results.json", ExperimentResult)
    changed = carry_on(with_arms(0, 1, 3, pairs=(late,)), read)
    told = [
        "pada against le: declared after a table had shown both arms, so not chosen beforehand.",
        "pada against auggpt: declared in an earlier table, and no longer. p values are corrected for fewer comparisons than were looked at.",
        "Seed 3 was added after the first table. If its results were the reason, p values are too small.",
        "Seed 2 of an earlier table is left out.",
    ]
    assert list(changed.notes) == ["a note", *told]
    again = carry_on(with_arms(0, 1, 3, pairs=(late,)), changed)
    assert again == changed, "the next table does not forget it"
    assert read_earlier(tmp_path / "none.json", ExperimentResult) is None


def test_a_comparison_with_a_new_arm_is_declared_beforehand() -> None:
    first = carry_on(with_arms(0, arms=("auggpt",)), None).model_copy(update={"history": None})
    assert carry_on(with_arms(0, pairs=(pair(),)), first).notes == ("a note",)
