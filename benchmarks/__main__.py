"""`python -m benchmarks [ID ...]`: print each benchmark's table and keep `results/<id>.json`.

Several benchmarks run one after the other, each in a process of its own.
"""

import argparse
import importlib
import math
import os
import shlex
import subprocess
import sys
from pathlib import Path

from pada_agent.core.machine import add_waiting

os.environ.update(add_waiting(os.environ))  # as the worker runs
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("LANGGRAPH_STRICT_MSGPACK", "true")  # no warning for each type in a checkpoint

MODULES = {
    "C1": "training",
    "C2": "scoring",
    "C3": "generation",
    "C4": "iteration",
    "C4-paper": "paper_size",
    "C5": "overhead",
    "C6": "teacher",
    "C6-levers": "teacher_levers",
    "growth": "growth",
    "memory": "memory",
    "scale": "scale",
    "G1": "training",
    "G2": "generation",
}
ON_GPU = ("G1", "G2")
ON_REQUEST = ("C6-levers",)
"""Run only if they are named."""
DEFAULT_DATA = Path("../shared/data")


def main() -> int:
    """Exit codes: 0 done, 2 it cannot be run here, 1 a failed parity check or a bug."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "ids", nargs="*", metavar="ID", help=f"any of {', '.join(MODULES)}; default: all that need no GPU"
    )
    parser.add_argument("--gpu", action="store_true", help="G1 and G2")
    parser.add_argument(
        "--data", type=Path, default=DEFAULT_DATA, help="folder with gsm8k/, hellaswag/, arc_challenge/"
    )
    parser.add_argument("--student", default="smollm2-135m-instruct", help="model store name, hub id or folder")
    parser.add_argument("--minutes", type=float, default=math.inf, help="at most, for the repetitions of each table")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, one repetition, nothing is kept")
    arguments = parser.parse_args()
    ids = arguments.ids or [n for n in MODULES if (n in ON_GPU) == arguments.gpu and n not in ON_REQUEST]
    if unknown := [name for name in ids if name not in MODULES]:
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(MODULES)}")
    if len(ids) > 1:
        return run_each(ids, arguments)
    return run_one(ids[0], arguments)


def run_each(ids: list[str], arguments: argparse.Namespace) -> int:
    """Run each in its own process. Returns the worst exit code."""
    shared = ["--data", str(arguments.data), "--student", arguments.student, "--minutes", str(arguments.minutes)]
    shared += ["--quick"] if arguments.quick else []
    return max(subprocess.run([sys.executable, "-m", "benchmarks", name, *shared]).returncode for name in ids)


def run_one(name: str, arguments: argparse.Namespace) -> int:
    import torch

    from benchmarks.measuring import BenchmarkError, Options, show, write
    from pada_agent.core.errors import PadaError

    if name in ON_GPU and not torch.cuda.is_available():
        print(f"{name}: needs a CUDA GPU, and torch sees none here", file=sys.stderr)
        return 2
    options = Options(
        data=arguments.data,
        student=arguments.student,
        quick=arguments.quick,
        minutes=arguments.minutes,
        device="cuda" if name in ON_GPU else "cpu",
    )
    print(f"{name} …", flush=True)
    try:
        outcome = importlib.import_module(f"benchmarks.{MODULES[name]}").run(options)
    except BenchmarkError as exc:
        print(f"{name}: {exc}", file=sys.stderr)
        return 1
    except PadaError as exc:
        print(f"{name}: {exc}", file=sys.stderr)
        return 2
    show(name, outcome)
    if not options.quick:
        print(write(name, outcome, shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]])))
    return 0


if __name__ == "__main__":
    sys.exit(main())
