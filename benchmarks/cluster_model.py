"""Prints how long a grid takes on 1 to 1,000 GPUs, like `pada estimate GRID`, but also with failing nodes.

python -m benchmarks.cluster_model configs/experiments/gpu.yaml --from runs/gpu --hours-between-failures 24
"""

import argparse
import sys
from pathlib import Path

from pada_agent.app.adapters.storage.datasets import FileDatasets
from pada_agent.app.estimates.command import Wishes, plan_runs
from pada_agent.app.estimates.hours import describe_hours, estimate_hours
from pada_agent.app.experiment.grid import load_grid, plan_cells
from pada_agent.core.errors import PadaError

NUMBERS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000)


def main() -> int:
    """Exit codes: 0 done, 2 something is wrong with the grid."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster_model", description=__doc__)
    parser.add_argument("grid", type=Path)
    parser.add_argument("--from", dest="measured_in", type=Path, help="folder of an earlier run or experiment")
    parser.add_argument("--tokens-per-second", type=float, help="tokens that one GPU trains per second")
    parser.add_argument("--call-seconds", type=float, help="seconds per LLM call")
    parser.add_argument("--gpus", type=int, nargs="+", default=NUMBERS, help="numbers of GPUs")
    parser.add_argument("--parallel", type=int, help="runs at the same time; default: 4 per GPU")
    parser.add_argument("--most-at-once", type=int, default=10_000, help="of that default")
    parser.add_argument("--gpu-price", type=float, help="US dollars per hour")
    parser.add_argument("--hours-between-failures", type=float, help="of one worker's node, on average")
    parser.add_argument("--checkpoint-minutes", type=float, default=10, help="0: an interrupted training starts over")
    arguments = parser.parse_args()
    wishes = Wishes(
        measured_in=arguments.measured_in,
        tokens_per_second=arguments.tokens_per_second,
        call_seconds=arguments.call_seconds,
    )
    try:
        plans = plan_runs(plan_cells(load_grid(arguments.grid), FileDatasets()), wishes)
    except PadaError as exc:
        print(exc, file=sys.stderr)
        return 2
    hours = estimate_hours(
        plans,
        numbers=arguments.gpus,
        n_at_once=arguments.parallel,
        most_at_once=arguments.most_at_once,
        usd_per_hour=arguments.gpu_price,
        hours_between_failures=arguments.hours_between_failures,
        checkpoint_minutes=arguments.checkpoint_minutes,
    )
    print(f"{len(plans)} runs")
    print(describe_hours(hours))
    return 0


if __name__ == "__main__":
    sys.exit(main())
