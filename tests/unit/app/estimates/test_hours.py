"""The table of hours, and what `pada estimate` prints of it."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from pada_agent.app.cli import app
from pada_agent.app.estimates.hours import Hours, Plan, describe_hours, estimate_hours, word_hours
from pada_agent.core.config import RunConfig
from tests.unit.app.estimates.test_chains import COUNTS, RATES, change


def estimate(configs: list[RunConfig], **options: Any) -> Hours:
    rates = RATES.model_copy(update={"start_seconds": 0.0})
    plans = [Plan(config=config, counts=COUNTS, rates=rates) for config in configs]
    return estimate_hours(plans, **{"most_at_once": 64, **options})


SEEDS = [change(seed=seed, loop__max_iterations=0) for seed in range(8)]
"""Each trains for 20 s and answers in a second; the untouched student's second is shared."""


def test_the_numbers_of_gpus_double_until_that_no_longer_helps() -> None:
    hours = estimate(SEEDS)
    assert [line.n_gpus for line in hours.lines] == [1, 2, 4, 8]
    assert [line.n_at_once for line in hours.lines] == [4, 8, 8, 8]
    assert hours.held_up_by == "the longest run: its steps wait for one another"
    assert hours.longest_chain_hours * 3600 == pytest.approx(0.6 + 20 + 0.6 + 0.4)
    assert hours.lines[0].gpu_hours * 3600 == pytest.approx(9 + 8 * 21 + 1)
    assert 0.9 < hours.lines[0].busy_share <= 1


def test_what_holds_more_gpus_up_is_named() -> None:
    assert estimate(SEEDS, n_at_once=1).held_up_by == "the number of runs at the same time"
    slow = [change(c, loop__max_iterations=2, models__generator__requests_per_minute=1) for c in SEEDS]
    assert estimate(slow).held_up_by.startswith("the limits of the LLMs")


def test_several_gpus_per_worker_and_the_price_of_all_of_them() -> None:
    pairs = [change(c, compute__backend="ray", compute__cluster__num_gpus=2) for c in SEEDS]
    halves = [change(c, lora__epochs=1) for c in SEEDS]
    two, one = estimate(pairs, usd_per_hour=3.0), estimate(halves)
    assert [line.n_gpus for line in two.lines] == [2, 4, 8, 16]
    assert two.lines[2].hours == pytest.approx(one.lines[2].hours), "four workers, and all runs at the same time"
    assert two.lines[0].gpu_hours == pytest.approx(2 * one.lines[0].gpu_hours)
    here = estimate([change(c, compute__processes=2) for c in SEEDS], usd_per_hour=3.0)
    assert here == two, "as with processes of one machine"
    assert two.lines[1].usd == pytest.approx(3 * 4 * two.lines[1].hours)


def test_chosen_numbers() -> None:
    lines = estimate(SEEDS, numbers=[1, 1000]).lines
    assert [line.n_gpus for line in lines] == [1, 1000]


def test_the_table_in_words() -> None:
    text = describe_hours(estimate(SEEDS, usd_per_hour=2.5, numbers=[1, 8]))
    head, one, eight = [line.split("  ") for line in text.split("\n")[1:4]]
    assert [cell.strip() for cell in head if cell] == ["GPUs", "runs at once", "time", "GPU time", "GPUs busy", "price"]
    assert [cell.strip() for cell in one if cell] == ["1", "4", "3 min", "3 min", "100%", "$0.12"]
    assert eight[-1].startswith("$")
    assert "Figures: here. One GPU trains on a row in 0.1 s" in text
    assert "price" not in describe_hours(estimate(SEEDS, numbers=[1]))


@pytest.mark.parametrize(
    ("hours", "words"), [(0.005, "18 s"), (0.5, "30 min"), (1.25, "1.2 h"), (99.9, "99.9 h"), (5012, "5,012 h")]
)
def test_durations_in_words(hours: float, words: str) -> None:
    assert word_hours(hours) == words


def write_files(folder: Path) -> tuple[Path, Path]:
    rows = folder / "rows.jsonl"
    rows.write_text("".join(json.dumps({"question": f"q{i}", "answer": "a"}) + "\n" for i in range(20)))
    data = dict.fromkeys(("train", "validation", "test"), str(rows))
    config = {"task": {"name": "exact_match"}, "data": data, "lora": {"n_steps": 100}}
    (folder / "run.yaml").write_text(yaml.safe_dump(config))
    grid = {"name": "g", "tasks": {"t": {"config": str(folder / "run.yaml")}}, "arms": ["vanilla", "untouched", "pada"]}
    (folder / "grid.yaml").write_text(yaml.safe_dump({**grid, "seeds": [0, 1]}))
    return folder / "run.yaml", folder / "grid.yaml"


def test_the_command_shows_hours_of_a_run_and_of_a_grid(tmp_path: Path) -> None:
    config, grid = write_files(tmp_path)
    run = CliRunner().invoke(app, ["estimate", str(config), "--gpu-price", "2", "--tokens-per-second", "50"])
    assert run.exit_code == 0, run.output
    assert "Rows: 20 training" in run.stdout and "with 50 tokens trained per second (as given)" in run.stdout
    assert "price" in run.stdout
    whole = CliRunner().invoke(app, ["estimate", str(grid), "--parallel", "3", "--call-seconds", "1"])
    assert whole.exit_code == 0, whole.output
    assert "6 combinations of task, size, arm and seed, 4 runs." in whole.stdout
    assert "generator: 18 to 144 calls" in whole.stdout
    assert "An LLM call takes 1 s (analyst)" in whole.stdout


def test_a_grid_is_not_changed_by_set(tmp_path: Path) -> None:
    _, grid = write_files(tmp_path)
    refused = CliRunner().invoke(app, ["estimate", str(grid), "--set", "seed=1"])
    assert refused.exit_code == 2 and "Change its `set` instead" in refused.stderr
