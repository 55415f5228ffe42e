"""Grids, their runs, and the tables; whole experiments are in tests/integration/test_experiment.py."""

import csv
import re
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml

from pada_agent.app.adapters.storage.datasets import FileDatasets
from pada_agent.app.experiment.grid import Cell, group_cells, load_grid, plan_cells
from pada_agent.app.experiment.methods import BASELINE_SETTINGS, METHODS
from pada_agent.app.experiment.results import (
    ArmOutcome,
    ExperimentResult,
    PairOutcome,
    correct_for_number,
    count_tests,
    describe_headroom,
    describe_limits,
    measure_arm,
    merge_equal,
)
from pada_agent.app.experiment.running import describe_power
from pada_agent.app.experiment.tables import (
    HEADER,
    pairs_to_csv,
    render_result,
    to_csv,
    to_latex,
    to_markdown,
    write_tables,
)
from pada_agent.core.errors import ConfigError
from pada_agent.core.records import Usage, Verdict
from pada_agent.evaluation.statistics import MethodTest, Words, compare_methods
from pada_agent.graph.summary import RowCounts
from tests.fakes import MemoryDatasets
from tests.unit.app.summaries import make_summary

ROOT = Path(__file__).parents[4]
GRIDS = sorted((ROOT / "configs" / "experiments").glob("*.yaml"))
ROWS = MemoryDatasets({"train": [{"question": f"q{i}", "answer": "a"} for i in range(20)]})


def write(folder: Path, *, run: dict[str, Any] | None = None, **grid: Any) -> Path:
    data = {"train": "memory:train", "validation": "memory:v", "test": "memory:t", "held_back": "memory:h"}
    (folder / "run.yaml").write_text(yaml.safe_dump({"data": data, "lora": {"epochs": 2}, **(run or {})}))
    values = {"name": "g", "runs_folder": "r", "tasks": {"toy": {"config": str(folder / "run.yaml")}}, **grid}
    path = folder / "grid.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def plan(folder: Path, **grid: Any) -> list[Cell]:
    return plan_cells(load_grid(write(folder, **{"arms": ["pada"], "seeds": [0], **grid})), ROWS)


@pytest.mark.parametrize("path", GRIDS, ids=lambda p: p.stem)
def test_every_shipped_grid_names_its_command_and_its_runs_have_valid_settings(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(FileDatasets, "read", lambda *_, limit=None, **_options: [None] * (limit or 60))
    grid = load_grid(path)
    cells = plan_cells(grid, FileDatasets())
    assert len(cells) == len(grid.tasks) * len(grid.sizes) * len(grid.arms) * len(grid.seeds)
    assert f"pada experiment {path.relative_to(ROOT)}" in path.read_text()


def test_cells_are_ordered_so_that_the_oracle_comes_before_money_is_spent(tmp_path: Path) -> None:
    cells = plan(tmp_path, arms=["pada", "auggpt", "oracle", "vanilla"], seeds=[0, 1], sizes=[4, 8])
    assert [key[1:] for key in group_cells(cells)] == [
        (size, arm) for size in (4, 8) for arm in ("vanilla", "oracle", "pada", "auggpt")
    ]
    assert [cell.seed for cell in cells[:2]] == [0, 1]


def test_steps_are_fixed_by_task_and_size_for_all_arms_but_vanilla(tmp_path: Path) -> None:
    cells = plan(tmp_path, arms=["untouched", "vanilla", "vanilla_equal_steps", "pada", "auggpt_native"], sizes=[8, 16])
    steps = {(c.size, c.arm): c.config.lora.n_steps for c in cells}
    assert steps[8, "pada"] == steps[8, "vanilla_equal_steps"] == 2 * 2, "2 epochs over 8 + 4 rows, 8 a step"
    assert steps[16, "pada"] == 2 * 3
    assert steps[8, "vanilla"] is steps[8, "auggpt_native"] is None


def test_sizes_take_nested_rows_whatever_the_seed(tmp_path: Path) -> None:
    cells = plan(tmp_path, sizes=[4, 8], seeds=[0, 1])
    assert {(c.config.data.train_limit, c.config.data.train_shuffle) for c in cells} == {(4, 0), (8, 0)}


def test_cells_with_equal_settings_have_one_run(tmp_path: Path) -> None:
    arms = ["untouched", "vanilla", "vanilla_equal_steps", "pada"]
    assert len({c.folder for c in plan(tmp_path, arms=arms)}) == 3
    assert len({c.folder for c in plan(tmp_path, arms=arms, set={"lora.n_steps": 9})}) == 2
    assert {c.config.shared_folder for c in plan(tmp_path, arms=arms)} == {"shared"}


def test_a_variant_changes_settings_of_its_method(tmp_path: Path) -> None:
    variant = {"name": "more", "like": "auggpt", "set": {"generation.share": 2.0}}
    (cell,) = plan(tmp_path, arms=[variant])
    assert (cell.config.generation.share, cell.config.generation.template) == (2.0, "rephrasing")
    assert cell.config.name == "toy-all-more-s0"


def test_texts_in_a_set_are_those_that_are_written(tmp_path: Path) -> None:
    path = write(tmp_path, run={"task": {"labels": {"001": "", "1.10": ""}}}, arms=["pada"], seeds=[0])
    for written in ("{task.label_values: {1: 001, 2: 1.10}}", "{task: {label_values: {1: 001, 2: 1.10}}}"):
        path.write_text(f"{path.read_text().partition('set:')[0]}set: {written}\n")
        (cell,) = plan_cells(load_grid(path), ROWS)
        assert cell.config.task.label_values == {"1": "001", "2": "1.10"}
    arm = "{name: x, like: pada, set: {student.revision: 1e5, generation.share: 1}}"
    path.write_text(
        f"{path.read_text().partition('set:')[0]}set: {{task.labels: [001, 1.10]}}\n".replace("- pada", f"- {arm}")
    )
    (cell,) = plan_cells(load_grid(path), ROWS)
    assert (list(cell.config.task.labels), cell.config.student.revision) == (["001", "1.10"], "1e5")


def test_all_problems_of_a_grid_are_named_at_once_with_file_and_key(tmp_path: Path) -> None:
    path = write(tmp_path, arms=["pada"], seeds=["one"], sice=[3])
    with pytest.raises(ConfigError) as caught:
        load_grid(path)
    assert [line.split(": ")[1] for line in str(caught.value).splitlines()] == ["seeds.0", "sice"]


@pytest.mark.parametrize(
    ("grid", "words"),
    [
        ({"arms": ["magic"]}, "arms.0: there is no method 'magic'"),
        ({"arms": ["pada", "pada"]}, "arms: a value appears twice"),
        ({"seeds": []}, "seeds: at least one is needed"),
        ({"seeds": [1, 1]}, "seeds: a value appears twice"),
        ({"tasks": {"a/b": {"config": "x.yaml"}}}, "tasks.a/b: a name"),
        (
            {"tasks": {"a": {"config": "nowhere.yaml"}}},
            "grid.yaml: tasks.a.config: nowhere.yaml: no such file (in ",
        ),
        ({"set": {"lora.stepz": 3}}, "grid.yaml: set: lora.stepz: there is no such setting"),
        ({"arms": [{"name": "x", "like": "pada", "set": {"quality.threshold": 99}}]}, "arms.x: quality.threshold"),
        ({"run": {"review": {"data": True}}}, "cannot wait for a person"),
        ({"set": {"data.test": ""}}, "data.test"),
    ],
)
def test_a_grid_that_cannot_run_says_why(tmp_path: Path, grid: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(words)):
        plan(tmp_path, **grid)


def make_test(difference: float, p_value: float, words: Words = "not shown", n_seeds: int = 3) -> MethodTest:
    return MethodTest(
        n=300,
        by_seed=(difference,) * n_seeds,
        difference=difference,
        low=difference - 0.04,
        high=difference + 0.04,
        p_value=p_value,
        smallest_shown=0.05,
        speaks_of="methods" if n_seeds > 2 else "adapters",
        words=words,
    )


def outcome(arm: str, test: MethodTest | None = None, **changes: Any) -> ArmOutcome:
    n = len(test.by_seed) if test else 3
    values: dict[str, Any] = {
        "task": "gsm8k_&_more",
        "size": 300,
        "arm": arm,
        "seeds": tuple(range(n)),
        "runs": tuple(f"{arm}-{i}" for i in range(n)),
        "models": ("iteration 1",) * n,
        "n_synthetic": (150,) * n,
        "n_joined": (150,) * n,
        "n_requested": (150,) * n,
        "n_steps": (100,) * n,
        "accuracy": (0.4, 0.42, 0.44)[:n],
        "test": test,
    }
    return ArmOutcome.model_validate({**values, **changes})


def test_the_cost_of_models_without_a_price_is_not_known() -> None:
    outcomes = [outcome("pada", unpriced=("judge",)), outcome("auggpt", usage=Usage(cost_usd=0.001))]
    notes = describe_limits(outcomes)
    assert notes[-1] == "No prices set for models.judge, so cost is not known."
    result = ExperimentResult(name="x", outcomes=tuple(outcomes))
    assert "| not known |" in to_markdown(result) and "| less than 0.01 |" in to_markdown(result)
    pada, auggpt = list(csv.DictReader(StringIO(to_csv(result))))
    assert (pada["USD"], auggpt["USD"]) == ("", "0.00")


def test_a_gain_that_stands_alone_is_not_shown_among_many_and_the_oracle_is_not_counted() -> None:
    outcomes = [outcome("oracle", make_test(0.1, 0.04, "gained"), is_oracle=True)]
    outcomes += [outcome(arm, make_test(0.05, p)) for arm, p in (("auggpt", 0.03), ("le", 0.5), ("pada", 0.01))]
    oracle, auggpt, le, pada = correct_for_number(outcomes)
    assert (oracle.p_holm, oracle.words) == (None, "gained")
    assert [o.p_holm for o in (auggpt, le, pada)] == pytest.approx([0.06, 0.5, 0.03])
    assert [o.words for o in (auggpt, le, pada)] == ["not shown", "not shown", "gained"]


def test_power_is_told_before_anything_runs_and_counts_the_declared_comparisons(tmp_path: Path) -> None:
    rows = [{"question": f"q{i}", "answer": "a"} for i in range(400)]
    datasets = MemoryDatasets({"train": rows[:20], "t": rows})
    arms: dict[str, Any] = {"arms": ["vanilla", "auggpt", "pada"], "seeds": [0, 1, 2, 3, 4]}
    alone = describe_power(load_grid(write(tmp_path, **arms, compare=[{"arm": "pada", "against": "auggpt"}])), datasets)
    both = describe_power(load_grid(write(tmp_path, **arms)), datasets)
    assert "5 seeds, 1 comparison " in alone and "5 seeds, 2 comparisons " in both
    assert "toy, 400 test rows: a true difference of 5.2 points is shown in 8 of 10" in alone
    assert "of 5.9 points is shown in 8 of 10 experiments (5.2 if it were the only comparison)" in both


def test_a_comparison_of_an_arm_that_is_not_there_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, arms=["pada"], compare=[{"arm": "pada", "against": "aug"}])
    with pytest.raises(ConfigError, match=r"grid\.yaml: compare\.0: the grid has no arm 'aug'\. It has: pada"):
        load_grid(path)


def test_the_oracle_says_if_it_took_other_steps() -> None:
    oracle = outcome("oracle", headroom=make_test(0.01, 0.5), is_oracle=True, n_plain_steps=(100,) * 3)
    assert " at the same number of steps; " in str(describe_headroom(oracle))
    longer = oracle.model_copy(update={"n_steps": (200,) * 3})
    assert " at 200 steps against 100; " in str(describe_headroom(longer))


def test_tests_are_counted_without_the_oracle_and_equal_arms_once(tmp_path: Path) -> None:
    same = {"name": "same", "like": "pada"}
    arms: list[Any] = ["untouched", "vanilla", "oracle", "auggpt", "le", "pada", same]
    cells = plan(tmp_path, arms=arms, seeds=[0, 1], sizes=[4, 8])
    assert count_tests(group_cells(cells).values()) == 2 * 3
    assert count_tests(group_cells(plan(tmp_path, arms=["vanilla", "oracle"])).values()) == 1
    mixed = {"name": "mixed", "like": "pada", "set": {"generation.sources": "held_back"}}
    assert not any(cell.is_oracle for cell in plan(tmp_path, arms=[mixed])), "an LLM writes half of its rows"


def test_arms_with_the_same_runs_are_one_row() -> None:
    one, two = outcome("vanilla", runs=("x",)), outcome("vanilla_equal_steps", runs=("x",))
    (merged,) = merge_equal([one, two])
    assert merged.also == ("vanilla_equal_steps",)
    assert merge_equal([one, two.model_copy(update={"models": ("untouched",)})])[1].arm == "vanilla_equal_steps"


@pytest.mark.parametrize(("words", "warns"), [("gained", False), ("not shown", True), ("lost", True)])
def test_an_oracle_without_gain_warns(words: Words, warns: bool) -> None:
    told = describe_headroom(outcome("oracle", headroom=make_test(0.01, 0.5, words), is_oracle=True))
    assert (told is not None) == warns
    assert told is None or ("no headroom shown on gsm8k_&_more (300 rows)" in told and "could show 5.0" in told)
    assert told is None or told.endswith("No method can be expected to gain more than 5.0 points here.")


def test_an_oracle_that_lost_for_certain_leaves_nothing_to_win() -> None:
    told = describe_headroom(outcome("oracle", headroom=make_test(-0.05, 0.01, "lost"), is_oracle=True))
    assert told is not None and told.endswith("could show 5.0. No method can be expected to win here.")


def test_four_rows_without_a_change_promise_nothing() -> None:
    same = [Verdict(example_id=str(i), value="correct") for i in range(4)]
    test = compare_methods([same], [same])
    told = describe_headroom(outcome("oracle", headroom=test, is_oracle=True))
    assert told is not None and "could show no difference" in told and "gain more than 60.2 points here" in told
    (row,) = csv.DictReader(to_csv(ExperimentResult(name="g", outcomes=(outcome("pada", test),))).splitlines())
    assert (row["95% interval"], row["could show"]) == ("-60.2 to +60.2", "none")


def test_notes_say_what_the_budget_did_not_match_and_of_what_the_tests_speak() -> None:
    notes = "\n".join(describe_limits([outcome("pada", make_test(0, 1, n_seeds=2), n_joined=(140, 150))]))
    assert "140 to 150 of the 150 rows asked for" in notes and "not about the methods" in notes
    assert not describe_limits([outcome("pada", make_test(0, 1))])
    rolled_back = outcome(
        "llm2llm_native", make_test(0, 1), n_synthetic=(9,) * 3, n_joined=(18,) * 3, n_requested=(18,) * 3
    )
    assert not describe_limits([rolled_back]), "all rows of both rounds joined, and the model is that of one"


def test_a_table_tells_of_answers_that_could_not_be_scored_and_count_as_wrong() -> None:
    (note,) = describe_limits(
        [outcome("pada", make_test(0, 1), n_unscored=(0, 12, 3)), outcome("auggpt", n_unscored=(0, 0, 0))]
    )
    assert (
        note == "pada on gsm8k_&_more (300 rows): 0 to 12 test answers could not be scored, and count as not correct."
    )


def test_rows_asked_for_and_rows_that_joined_are_both_counted_over_all_rounds(tmp_path: Path) -> None:
    (cell,) = plan(tmp_path, arms=["vanilla"], runs_folder=str(tmp_path))
    cell.folder.mkdir(parents=True)
    rows = RowCounts(requested=120, accepted=110)
    (cell.folder / "summary.json").write_text(make_summary(rows=rows).model_dump_json())
    measured = measure_arm([cell])
    assert (measured.n_joined, measured.n_requested) == ((110,), (120,))


def test_tables_say_the_same_in_every_form() -> None:
    outcomes = correct_for_number([outcome("untouched"), outcome("pada", make_test(0.051, 0.004, "gained"))])
    result = ExperimentResult(name="grid", outcomes=tuple(outcomes), notes=("a note",))
    header, untouched, pada = csv.reader(to_csv(result).splitlines())
    assert header == HEADER and len(untouched) == len(pada) == len(HEADER)
    figures = ["42.0%", "+5.1", "+1.1 to +9.1", "0.004", "gained"]
    assert [c for c in pada if c in figures] == [*figures[:3], "0.004", "0.004", "gained"]
    for text in (to_markdown(result), render_result(result)):
        assert all(figure in text for figure in figures) and "a note" in text
    latex = to_latex(result)
    assert r"gsm8k\_\&\_more" in latex and r"42.0\%" in latex
    assert {line.count(" & ") for line in latex.splitlines() if "&" in line} == {11} and "% a note" in latex


def pair(**changes: Any) -> PairOutcome:
    values = {"task": "bank", "size": None, "arm": "pada", "against": "auggpt", "is_primary": True}
    return PairOutcome.model_validate(
        {**values, "test": make_test(0.031, 0.02), "p_holm": 0.04, "words": "gained", **changes}
    )


def test_declared_comparisons_come_first_in_the_tables() -> None:
    result = ExperimentResult(name="grid", outcomes=(outcome("pada", make_test(0.051, 0.004)),), pairs=(pair(),))
    for text in (to_markdown(result), render_result(result), to_latex(result), pairs_to_csv(result)):
        (line,) = [line for line in text.splitlines() if "pada against auggpt" in line]
        assert all(figure in line for figure in ("bank", "all", "+3.1", "0.02", "0.04", "gained", "5.0"))
    tables = to_latex(result).split("\n\n")
    assert [table.count(r"\begin{tabular}") for table in tables] == [1, 1] and "against" in tables[0]


def test_tables_of_another_name_leave_declared_comparisons_alone(tmp_path: Path) -> None:
    table = tmp_path / "comparisons.csv"
    plain = ExperimentResult(name="grid", outcomes=(outcome("vanilla"),))
    write_tables(plain.model_copy(update={"pairs": (pair(),)}), tmp_path)
    write_tables(plain, tmp_path, name="headroom")
    assert "pada against auggpt" in table.read_text()
    write_tables(plain, tmp_path)
    assert not table.exists()


def test_arms_that_trained_for_other_steps_are_marked_in_every_form() -> None:
    longer = outcome("auggpt_native", make_test(0.05, 0.01), n_steps=(300, 300, 310), n_plain_steps=(100,) * 3)
    equal = outcome("pada", make_test(0.05, 0.01), n_plain_steps=(100,) * 3)
    pairs = (pair(n_steps=(100,) * 3, n_steps_against=(300,) * 3), pair(n_steps=(100,) * 3, n_steps_against=(100,) * 3))
    notes = describe_limits([longer, equal], pairs)
    assert notes == [
        "auggpt_native against plain fine-tuning on gsm8k_&_more (300 rows): 300 300 310 steps against 100, so the steps may be"
        " the reason for a difference.",
        "pada against auggpt on bank: 100 steps against 300, so the steps may be the reason for a difference.",
    ]
    result = ExperimentResult(name="grid", outcomes=(longer, equal), pairs=pairs, notes=tuple(notes))
    assert [(row["steps"], row["plain steps"]) for row in csv.DictReader(to_csv(result).splitlines())] == [
        ("300 300 310", "100"),
        ("100", "100"),
    ]
    assert [row["steps"] for row in csv.DictReader(pairs_to_csv(result).splitlines())] == ["100 against 300", "100"]
    assert "& 300 300 310 & 100 &" in to_latex(result) and "as many steps" not in to_markdown(result)


def test_steps_that_were_not_reported_are_not_called_unequal() -> None:
    unknown = outcome("pada", make_test(0, 1), n_steps=(None, 9, 9), n_plain_steps=(9, 9, 9))
    assert not describe_limits([unknown], [pair()])
    untouched = outcome("untouched", models=("untouched",) * 3, n_steps=(0,) * 3)
    table = csv.DictReader(to_csv(ExperimentResult(name="g", outcomes=(untouched, unknown))).splitlines())
    assert [row["steps"] for row in table] == ["0", "? 9 9"]


def test_accuracy_on_validation_is_not_called_test() -> None:
    measured = [
        outcome("oracle", make_test(0, 1), split="validation", is_oracle=True, is_chosen=c) for c in (True, False)
    ]
    assert "also chose the oracle's iteration, so its gain is probably too high" in describe_limits(measured[:1])[0]
    assert "too high" not in describe_limits(measured[1:])[0]
    result = ExperimentResult(name="grid", outcomes=tuple(measured))
    for text in (to_markdown(result), render_result(result), to_latex(result), to_csv(result)):
        assert "validation" in text and not re.search(r"\btest\b", text)


def test_every_method_is_documented_with_its_settings() -> None:
    text = (ROOT / "docs" / "arms.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \|.*\| (.*) \|$", text, flags=re.MULTILINE))
    assert list(rows) == list(METHODS)
    common = list_settings(BASELINE_SETTINGS)
    assert f"none of our additions: {common}." in text
    for name, method in METHODS.items():
        expected = list_settings(method.settings).replace(common, "*baseline*")
        assert rows[name] == (expected or "none"), f"{name}: {expected}"


def list_settings(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"`{key}: {yaml.safe_dump(value).split(chr(10))[0]}`" for key, value in settings.items())


def test_paths_of_a_grid_may_begin_in_the_folder_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path)
    grid = load_grid(
        write(tmp_path, tasks={"toy": {"config": "~/run.yaml"}}, runs_folder="~/r", arms=["pada"], seeds=[0])
    )
    assert grid.runs_folder == f"{tmp_path}/r"
    assert [cell.config.runs_folder for cell in plan_cells(grid, ROWS)] == [f"{tmp_path}/r/g"]


def test_a_grid_that_is_used_from_another_folder_says_from_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "configs").mkdir()
    path = write(tmp_path, tasks={"toy": {"config": "run.yaml"}}, arms=["pada"]).rename(tmp_path / "configs" / "g.yaml")
    monkeypatch.chdir(tmp_path / "configs")
    with pytest.raises(ConfigError) as caught:
        load_grid(path)
    told = f"{path}: tasks.toy.config: run.yaml: no such file (in {tmp_path / 'configs'})"
    assert str(caught.value) == f"{told}. Its paths are relative to another folder: cd {tmp_path}"


def test_the_settings_of_one_run_are_no_grid(tmp_path: Path) -> None:
    write(tmp_path)
    with pytest.raises(ConfigError) as caught:
        load_grid(tmp_path / "run.yaml")
    path = tmp_path / "run.yaml"
    assert str(caught.value) == (
        f"{path}: these are settings of one run: pada run {path}. A grid names them under its tasks."
    )
