"""Grids that would compare nothing, or something else than they say, are refused before anything runs."""

import re
from pathlib import Path
from typing import Any

import pytest

from pada_agent.app.experiment.grid import Part, load_grid, plan_cells
from pada_agent.app.experiment.running import describe_power
from pada_agent.core.errors import ConfigError
from tests.fakes import MemoryDatasets
from tests.unit.app.experiment.test_experiment import ROWS, plan, write


def variant(**settings: Any) -> dict[str, Any]:
    return {"arms": ["pada", {"name": "p2", "like": "pada", "set": settings}]}


def pair(arm: str, against: str) -> dict[str, str]:
    return {"arm": arm, "against": against}


@pytest.mark.parametrize("of", ["set", "task", "arm"])
@pytest.mark.parametrize("settings", [{"lora.rank": 4}, {"lora": {"rank": 4}}])
def test_a_group_in_set_changes_only_the_settings_that_it_names(
    tmp_path: Path, of: str, settings: dict[str, Any]
) -> None:
    run = {"lora": {"learning_rate": 0.001, "epochs": 2}, "task": {"labels": ["a", "b"]}}
    where = {
        "set": {"set": settings},
        "task": {"tasks": {"toy": {"config": str(tmp_path / "run.yaml"), "set": settings}}},
        "arm": {"arms": [{"name": "x", "like": "pada", "set": settings}]},
    }
    (cell,) = plan(tmp_path, run=run, **where[of])
    assert (cell.config.lora.rank, cell.config.lora.learning_rate, cell.config.lora.epochs) == (4, 0.001, 2)


def test_the_set_of_a_task_takes_precedence_over_that_of_the_grid_in_either_form(tmp_path: Path) -> None:
    entry = {"config": str(tmp_path / "run.yaml"), "set": {"lora.rank": 4, "task.labels": {"c": ""}}}
    every = {"lora": {"rank": 2, "alpha": 3}, "task": {"labels": {"a": "", "b": ""}}}
    (cell,) = plan(tmp_path, set=every, tasks={"toy": entry})
    assert (cell.config.lora.rank, cell.config.lora.alpha) == (4, 3)
    assert list(cell.config.task.labels) == ["c"], "a mapping that is one setting is replaced"


@pytest.mark.parametrize(
    "key",
    ["data.test", "data.test_limit", "data.validation", "data.validation_limit", "data.shuffle", "task.columns.question", "task.name"],
)  # fmt: skip
def test_an_arm_answers_the_same_questions_as_the_others(tmp_path: Path, key: str) -> None:
    group, _, name = key.partition(".")
    for settings in ({key: "x"}, {group: {name: "x"}} if "." not in name else {group: {"columns": {"question": "x"}}}):
        with pytest.raises(
            ConfigError, match=rf"grid\.yaml: arms\.p2: {group}\..*: arms are compared on their answers to"
        ):
            load_grid(write(tmp_path, **variant(**settings)))


def test_an_arm_may_change_what_only_the_agents_see(tmp_path: Path) -> None:
    settings = {
        "task.description": "x",
        "data.train_on_definitions": True,
        "prompts.rephrasing": "{{ x }}",
        "models.judge.model": "a:b",
    }
    assert plan(tmp_path, **variant(**settings))[1].config.task.description == "x"


def test_the_judge_of_the_answers_is_the_same_for_all_arms(tmp_path: Path) -> None:
    run = {"task": {"name": "judge"}}
    with pytest.raises(
        ConfigError, match=r"grid\.yaml: arms\.p2: models\.judge: it decides which answers to 'judge' are right"
    ):
        load_grid(write(tmp_path, run=run, **variant(**{"models.judge.model": "openai:x"})))


@pytest.mark.parametrize("key", ["seed", "name", "runs_folder", "shared_folder"])
@pytest.mark.parametrize("of", ["set", "tasks.toy", "arms.p2"])
def test_what_the_grid_decides_cannot_be_set(tmp_path: Path, key: str, of: str) -> None:
    settings = {key: "7"}
    task = {"config": str(tmp_path / "run.yaml"), "set": settings if of == "tasks.toy" else {}}
    grid = {"arms": ["pada"], "tasks": {"toy": task}, **(variant(**settings) if of == "arms.p2" else {})}
    with pytest.raises(ConfigError, match=rf"grid\.yaml: {of}: {key}: the grid decides it"):
        load_grid(write(tmp_path, **grid, set=settings if of == "set" else {}))


REFUSED: list[tuple[dict[str, Any], str]] = [
    (variant(**{"review.data": True}), "arms.p2: review.data: an experiment cannot wait for a person"),
    (variant(review={"cost_above_hours": 1}), "arms.p2: review.cost_above_hours: an experiment cannot wait"),
    (variant(**{"prompts.answer_judgement": "x"}), "arms.p2: prompts.answer_judgement: arms are compared on"),
    ({"sizes": [4], "set": {"data.train_limit": 9}}, "set: data.train_limit: the grid decides it (`sizes`)"),
    ({"sizes": [4, None], **variant(data={"train_limit": 9})}, "arms.p2: data.train_limit: the grid decides it (`sizes`)"),
    ({"set": {"lora": {"rank": 4}, "lora.rank": 8}}, "set: lora.rank: is given twice"),
    ({"set": {"lora.": 8}}, "set: 'lora.': is not the key of a setting"),
    ({"set": {"lora": {"stepz": 8}}}, "set: lora.stepz: there is no such setting"),
    ({"tasks": {"toy": {"config": "."}}}, "tasks.toy.config: .: is a folder. Name the YAML file"),
    ({"run": {"lora": {"rnk": 1}}}, "tasks.toy.config: {folder}/run.yaml: lora.rnk: there is no such setting"),
    ({"sizes": [4, 1000]}, "sizes.1: 1000, but there are 20 training rows (tasks.toy: data.train: memory:train)"),
    ({"sizes": [20, None]}, "sizes.0: 20 is also what null means"),
    ({"sizes": [0]}, "sizes.0: Input should be greater than or equal to 1"),
    ({"compare": [pair("pada", "pada")]}, "compare.0: 'pada' is compared with itself"),
    ({"arms": ["pada", "le"], "compare": [pair("pada", "le"), pair("pada", "le")]}, "compare.1: 'pada' and 'le' are compared by compare.0"),
    ({"arms": ["pada", "le"], "compare": [pair("pada", "le"), pair("le", "pada")]}, "compare.1: 'le' and 'pada' are compared by compare.0"),
    ({**variant(), "compare": [pair("pada", "p2")]}, "compare.0: 'pada' and 'p2' have equal settings"),
    (
        {"arms": ["vanilla_equal_steps", "pada"], "set": {"loop.max_iterations": 0}, "compare": [pair("pada", "vanilla_equal_steps")]},
        "compare.0: 'pada' and 'vanilla_equal_steps' have equal settings",
    ),
    ({"runs_folder": "${SCRATCH}/runs"}, "runs_folder: a folder named '${SCRATCH}/runs' would be made. Variables are not"),
    (variant(**{"lora.epochs": 12}), "arms.p2: lora.epochs: does nothing, because the grid fixes the steps. Set lora.n_steps instead, or"),
    (variant(lora={"epochs": 12, "n_steps": 9}), "arms.p2: lora.epochs: does nothing, because lora.n_steps is set"),
    (
        {"arms": [{"name": "v", "like": "vanilla", "set": {"lora.epochs": 12}}], "run": {"lora": {"n_steps": 9}}},
        "arms.v: lora.epochs: does nothing, because lora.n_steps is set",
    ),
    ({"run": {"lora": {"n_steps": 9}}, "set": {"lora.epochs": 12}}, "set: lora.epochs: does nothing, because lora.n_steps is set"),
    ({"seeds": 3}, "seeds: expected a list, such as [0, 1, 2]"),
    ({"sizes": 3}, "sizes: expected a list, such as [0, 1, 2]"),
    ({"arms": "pada"}, "arms: expected a list, such as [a, b]"),
    ({"compare": pair("pada", "le")}, "compare: expected a list, such as [{arm: …, against: …}]"),
    ({"compare": ["pada"]}, "compare.0: expected a mapping, such as {arm: …, against: …}"),
    ({"tasks": ["x"]}, "tasks: expected a mapping, such as {name: {config: …}}"),
    ({"arms": [None]}, "arms.0: expected a text or a mapping, such as {name: …, like: …}"),
    ({"arms": [{"name": "x"}]}, "arms.0.like: Field required"),
    ({"arms": [{"name": "x" * 95, "like": "pada"}]}, f"tasks.toy: with arm '{'x' * 95}', the name of a run has 106 characters, and 100"),
    ({"arms": [{"name": "x", "like": "pada", "sets": {}}]}, "arms.0.sets: there is no such setting. Did you mean 'set'?"),
]  # fmt: skip


@pytest.mark.parametrize(("grid", "told"), REFUSED)
def test_a_grid_that_compares_nothing_says_so_in_one_line_with_its_file(
    tmp_path: Path, grid: dict[str, Any], told: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        plan(tmp_path, **grid)
    assert str(caught.value).startswith(f"{tmp_path / 'grid.yaml'}: {told.replace('{folder}', str(tmp_path))}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "grid",
    [
        variant(**{"lora.epochs": 12, "lora.n_steps": None}),
        {"arms": [{"name": "v", "like": "vanilla", "set": {"lora.epochs": 12}}]},
        {"arms": [{"name": "n", "like": "le_native", "set": {"lora": {"epochs": 12}}}]},
        {"set": {"lora.epochs": 12, "lora.n_steps": None}, "run": {"lora": {"n_steps": 9}}, "arms": ["vanilla"]},
    ],
)
def test_an_arm_without_fixed_steps_may_set_its_epochs(tmp_path: Path, grid: dict[str, Any]) -> None:
    lora = plan(tmp_path, **grid)[-1].config.lora
    assert (lora.epochs, lora.n_steps) == (12, None)


def test_arms_that_differ_on_one_task_alone_may_be_compared(tmp_path: Path) -> None:
    fixed = {"config": str(tmp_path / "run.yaml"), "set": {"lora.n_steps": 9}}
    tasks = {"toy": {"config": str(tmp_path / "run.yaml")}, "fixed": fixed}
    arms = ["vanilla", "vanilla_equal_steps"]
    assert plan(tmp_path, tasks=tasks, arms=arms, compare=[pair(*arms)])
    with pytest.raises(ConfigError, match="equal settings"):
        plan(tmp_path, tasks={"fixed": fixed}, arms=arms, compare=[pair(*arms)])


def test_power_is_that_of_the_part_that_is_named(tmp_path: Path) -> None:
    datasets = MemoryDatasets({"train": [{"question": "q"}] * 20, "t": [{"question": "q"}] * 400})
    compare = [pair("pada", "auggpt"), pair("pada", "le")]
    grid = load_grid(write(tmp_path, arms=["pada", "auggpt", "le"], seeds=[0, 1, 2], compare=compare))
    assert describe_power(grid, datasets).startswith("3 seeds, 2 comparisons ")
    part = describe_power(grid, datasets, Part(arms=("pada", "le"), seeds=(0,)))
    assert part.startswith("1 seed, 1 comparison ") and "the part of the grid that --arms and --seeds name" in part
    for unknown in (Part(arms=("magic",)), Part(seeds=(9,))):
        with pytest.raises(ConfigError, match=r"the grid has no (arm magic|seed 9)\. It has: "):
            describe_power(grid, datasets, unknown)


def test_no_difference_beyond_100_points_is_promised(tmp_path: Path) -> None:
    datasets = MemoryDatasets({"train": [{"question": "q"}] * 20, "t": [{"question": "q"}]})
    told = describe_power(load_grid(write(tmp_path, arms=["pada", "le"], seeds=[0])), datasets)
    assert "toy, 1 test row: so few cannot show any difference" in told
    points = [float(number) for number in re.findall(r"([\d.]+) (?:points|if)", told)]
    assert all(number <= 100 for number in points)


def test_a_grid_made_in_python_is_checked_too(tmp_path: Path) -> None:
    grid = load_grid(write(tmp_path, arms=["pada"])).model_copy(update={"sizes": (1000,)})
    with pytest.raises(ConfigError, match=r"sizes\.0: 1000, but there are 20 training rows"):
        plan_cells(grid, ROWS)


def test_two_runs_of_a_grid_cannot_have_one_name(tmp_path: Path) -> None:
    tasks = {name: {"config": str(tmp_path / "run.yaml")} for name in ("x", "x-all")}
    path = write(tmp_path, tasks=tasks, arms=["pada", {"name": "all-pada", "like": "le"}])
    told = "tasks.x-all: with arm 'pada', runs have the names of those of tasks.x with arm 'all-pada'. Rename one"
    with pytest.raises(ConfigError, match=told):
        load_grid(path)
