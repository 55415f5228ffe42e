"""Hours, GPU use and money of a run or an experiment, by the number of GPUs."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from pada_agent.app.estimates.calls import Counts
from pada_agent.app.estimates.chains import RunChain, find_limits
from pada_agent.app.estimates.rates import Rates, describe_rates
from pada_agent.app.estimates.simulation import Cluster, Course, Step, measure_chain, simulate
from pada_agent.core.compute_config import count_processes
from pada_agent.core.config import RunConfig
from pada_agent.core.records import Record

MOST_GPUS = 1024
HELPS = 0.95
"""Twice as many GPUs help if the hours fall below this fraction."""
RUNS_PER_GPU = 4
"""Runs at the same time for each GPU, so that a GPU has work while other runs wait for the teacher."""


class Plan(Record):
    """One run to make, with its rows and rates."""

    config: RunConfig
    counts: Counts
    rates: Rates


class Line(Record):
    """What a number of GPUs comes to."""

    n_gpus: int
    n_at_once: int
    """Number of runs at the same time."""
    hours: float
    gpu_hours: float
    """Hours in which GPUs work."""
    busy_share: float
    """Fraction of all GPUs' time in which they work."""
    usd: float | None = None
    """For all GPUs from beginning to end. None without a price."""


class Hours(Record):
    """Hours by number of GPUs."""

    lines: tuple[Line, ...]
    longest_chain_hours: float
    """The run that takes longest if it never waits for another. More GPUs cannot bring the hours below it."""
    held_up_by: str
    """What keeps more GPUs from helping, in words."""
    basis: tuple[str, ...]
    """The rates that were used, in words."""


def estimate_hours(
    plans: Sequence[Plan],
    *,
    numbers: Sequence[int] = (),
    n_at_once: int | None = None,
    most_at_once: int,
    usd_per_hour: float | None = None,
) -> Hours:
    """Simulate the runs on more and more GPUs.

    Args:
        plans: the runs, in the order in which they start.
        numbers: the numbers of GPUs. Empty doubles them until that no longer helps.
        n_at_once: number of runs at the same time. None takes several per GPU.
        most_at_once: maximum number of runs at the same time.
        usd_per_hour: price of one GPU.
    """
    chains = [tuple(RunChain(plan.config, plan.counts, plan.rates).steps()) for plan in plans]
    gpus_each = max(count_processes(plan.config.compute) for plan in plans)

    def make_cluster(n_gpus: int) -> Cluster:
        return Cluster(
            n_workers=n_gpus // gpus_each,
            n_at_once=n_at_once or min(RUNS_PER_GPU * n_gpus, most_at_once, len(plans)),
            load_seconds=max(plan.rates.load_seconds for plan in plans),
            limits={model: limit for plan in plans for model, limit in find_limits(plan.config).items()},
        )

    lines: list[Line] = []
    for n_gpus in numbers or _double(gpus_each):
        cluster = make_cluster(n_gpus)
        line = _describe(simulate(chains, cluster), cluster, n_gpus, usd_per_hour)
        if not numbers and lines and line.hours > HELPS * lines[-1].hours:
            break
        lines.append(line)
    return Hours(
        lines=tuple(lines),
        longest_chain_hours=max(map(measure_chain, chains)) / 3600,
        held_up_by=find_brake(chains, make_cluster(2 * lines[-1].n_gpus)),
        basis=tuple(dict.fromkeys(describe_rates(plan.rates) for plan in plans)),
    )


def find_brake(chains: Sequence[Sequence[Step]], cluster: Cluster) -> str:
    """What keeps more GPUs from helping, in words."""
    seconds = simulate(chains, cluster).seconds
    without = {
        "the limits of the LLMs (models.ROLE.max_concurrency and requests_per_minute)": replace(cluster, limits={}),
        "the number of runs at the same time": replace(cluster, n_at_once=len(chains)),
        "the work of the driver": replace(cluster, n_drivers=len(chains)),
    }
    found = {what: simulate(chains, other).seconds for what, other in without.items()}
    brake = min(found, key=lambda what: found[what])
    return brake if found[brake] < HELPS * seconds else "the longest run: its steps wait for one another"


def describe_hours(hours: Hours) -> str:
    """The table as text for a terminal, without a line end."""
    priced = any(line.usd is not None for line in hours.lines)
    head = ["GPUs", "runs at once", "time", "GPU time", "GPUs busy", *(["price"] if priced else [])]
    rows = [
        [
            f"{line.n_gpus:,}",
            f"{line.n_at_once}",
            word_hours(line.hours),
            word_hours(line.gpu_hours),
            f"{line.busy_share:.0%}",
            *([f"${line.usd:,.2f}"] if line.usd is not None else []),
        ]
        for line in hours.lines
    ]
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    table = ["  ".join(text.rjust(width) for text, width in zip(row, widths, strict=True)) for row in (head, *rows)]
    return "\n".join(
        [
            "Time by number of GPUs, simulated, if no iteration ends a run early:",
            *(f"  {row}" for row in table),
            f"Beyond that, the bottleneck is {hours.held_up_by}. The longest run alone takes {word_hours(hours.longest_chain_hours)}.",
            *hours.basis,
        ]
    )


def word_hours(hours: float) -> str:
    """With about two digits, because more would claim a precision that is not there."""
    if hours < 1 / 60:
        return f"{3600 * hours:.0f} s"
    if hours < 1:
        return f"{60 * hours:.0f} min"
    return f"{hours:.1f} h" if hours < 100 else f"{hours:,.0f} h"


def _describe(course: Course, cluster: Cluster, n_gpus: int, usd_per_hour: float | None) -> Line:
    hours = course.seconds / 3600
    return Line(
        n_gpus=n_gpus,
        n_at_once=cluster.n_at_once,
        hours=hours,
        gpu_hours=n_gpus // cluster.n_workers * course.busy_seconds / 3600,
        busy_share=course.busy_share,
        usd=None if usd_per_hour is None else usd_per_hour * n_gpus * hours,
    )


def _double(first: int) -> Iterator[int]:
    n = first
    while n <= MOST_GPUS:
        yield n
        n *= 2
