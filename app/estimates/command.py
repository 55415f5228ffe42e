"""What `pada estimate` prints, for a run's settings or for an experiment's grid."""

from collections.abc import Sequence
from pathlib import Path

from pada_agent.app.adapters.storage.datasets import FileDatasets
from pada_agent.app.estimates.calls import (
    RANGE,
    Counts,
    Estimate,
    count_rows,
    describe_estimate,
    describe_rest,
    describe_use,
    estimate_run,
    offers_choices,
)
from pada_agent.app.estimates.hours import Plan, describe_hours, estimate_hours
from pada_agent.app.estimates.rates import Rates, assume_rates
from pada_agent.app.estimates.recorded import measure_rates
from pada_agent.app.experiment.grid import Cell, Grid, load_grid, plan_cells
from pada_agent.app.prerequisites import describe_unpriced
from pada_agent.app.terminal.arguments import MOST_AT_ONCE
from pada_agent.core.config import RunConfig
from pada_agent.core.config_files import is_grid, read_yaml
from pada_agent.core.records import Record


class Wishes(Record):
    """What the user says about the hours."""

    measured_in: Path | None = None
    """Folder of an earlier run or experiment."""
    tokens_per_second: float | None = None
    call_seconds: float | None = None
    usd_per_hour: float | None = None
    n_at_once: int | None = None


def holds_grid(path: Path) -> bool:
    """Whether the file describes an experiment."""
    return is_grid(read_yaml(path, Grid))


def describe_run(config: RunConfig, wishes: Wishes) -> str:
    """Calls, tokens, cost and hours of one run.

    Raises:
        DatasetError: rows cannot be read.
        ConfigError: there is no run to measure by.
    """
    counts = count_rows(config, FileDatasets())
    plan = Plan(config=config, counts=counts, rates=find_rates(config, counts, wishes))
    estimate = estimate_run(config, counts)
    return "\n".join(
        [describe_estimate(estimate), *tell_unpriced([config], [estimate]), describe_plans([plan], wishes)]
    )


def describe_grid(path: Path, wishes: Wishes) -> str:
    """LLM use and hours of a whole experiment.

    Raises:
        ConfigError: something is wrong with the grid, or there is no run to measure by.
        DatasetError: rows cannot be read.
    """
    cells = plan_cells(load_grid(path), FileDatasets())
    plans = plan_runs(cells, wishes)
    estimates = [estimate_run(plan.config, plan.counts) for plan in plans]
    return "\n".join(
        [
            f"{len(cells)} combinations of task, size, arm and seed, {len(plans)} runs.",
            f"LLM use, if no reply is shared between runs, {RANGE}:",
            *describe_use([e.low for e in estimates], [e.high for e in estimates]),
            *describe_rest(estimates),
            *tell_unpriced([plan.config for plan in plans], estimates),
            describe_plans(plans, wishes),
        ]
    )


def tell_unpriced(configs: Sequence[RunConfig], estimates: Sequence[Estimate]) -> list[str]:
    """A line if models that are asked may cost money, but have no price."""
    unpriced = describe_unpriced(
        (role, getattr(config.models, role))
        for config, estimate in zip(configs, estimates, strict=True)
        for role, usage in estimate.high.items()
        if usage.n_calls
    )
    return [f"No prices set for {unpriced}, so cost is not known."] if unpriced else []


def plan_runs(cells: Sequence[Cell], wishes: Wishes) -> list[Plan]:
    """The runs of an experiment, in their order."""
    configs = {cell.config.name: cell.config for cell in cells}
    counted: dict[str, Counts] = {}
    plans = []
    for config in configs.values():
        rows = f"{config.data.model_dump_json()} {config.task.model_dump_json()} {config.generation.share}"
        if rows not in counted:
            counted[rows] = count_rows(config, FileDatasets())
        plans.append(Plan(config=config, counts=counted[rows], rates=find_rates(config, counted[rows], wishes)))
    return plans


def find_rates(config: RunConfig, counts: Counts, wishes: Wishes) -> Rates:
    """Measured rates if the user names a folder, otherwise assumed ones."""
    assumed = assume_rates(
        row_tokens=counts.tokens_per_row,
        is_choice=offers_choices(config),
        max_new_tokens=config.student.max_new_tokens,
        tokens_per_second=wishes.tokens_per_second,
        call_seconds=wishes.call_seconds,
    )
    return measure_rates(wishes.measured_in, assumed) if wishes.measured_in else assumed


def describe_plans(plans: Sequence[Plan], wishes: Wishes) -> str:
    """The table of hours."""
    hours = estimate_hours(
        plans, n_at_once=wishes.n_at_once, most_at_once=MOST_AT_ONCE, usd_per_hour=wishes.usd_per_hour
    )
    return describe_hours(hours)
