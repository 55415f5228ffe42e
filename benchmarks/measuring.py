"""What every benchmark shares: options, interleaved arms, ratios, and how a result is written."""

import json
import math
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from pada_agent.core.errors import PadaError
from pada_agent.core.lines import split_lines

RESULTS = Path(__file__).with_name("results")
PACKAGES = ("pada-agent", "torch", "transformers", "peft", "trl", "lm_eval", "langgraph", "unsloth", "vllm")

Arm = Callable[[int], float]
"""Runs one repetition, by number, and gives its figure."""


class BenchmarkError(PadaError):
    """The benchmark cannot be run here, or its parity gate does not hold."""


@dataclass(frozen=True)
class Options:
    """How to run a benchmark."""

    data: Path
    """Folder with one subfolder per task, for example with `gsm8k/train_300.jsonl`."""
    student: str
    """Model store name, hub id or folder."""
    quick: bool = False
    """A few rows and one repetition: shows that it works, but says nothing about speed."""
    device: str = "cpu"
    minutes: float = math.inf
    """Time for a table's repetitions. None is started that would probably end later."""

    @property
    def repetitions(self) -> int:
        return 1 if self.quick else 3


@dataclass(frozen=True)
class Comparison:
    """One line of the table. `ratio` is how many times better ours is, whatever the unit."""

    what: str
    ours: float
    """Median over the repetitions."""
    peer: float
    peer_name: str
    unit: str
    ratio: float
    """Median of the repetitions' own ratios."""
    ratio_min: float
    ratio_max: float
    repetitions: int
    target: float | None = None


@dataclass(frozen=True)
class Outcome:
    """What a benchmark found."""

    parity: str
    """What was compared, and the result."""
    rows: Sequence[Comparison]


def interleave(arms: Mapping[str, Arm], options: Options) -> dict[str, list[float]]:
    """Figures by arm, as many as there was time for.

    Each repetition runs every arm and starts with a different one, so that no arm gets all the quiet minutes.
    """
    names = list(arms)
    figures: dict[str, list[float]] = {name: [] for name in names}
    start = time.perf_counter()
    for repetition in range(options.repetitions):
        minutes = (time.perf_counter() - start) / 60
        if repetition and minutes * (repetition + 1) / repetition > options.minutes:
            print(f"  no time for repetition {repetition + 1}", flush=True)
            break
        for i in range(len(names)):
            name = names[(repetition + i) % len(names)]
            figures[name].append(arms[name](repetition))
            print(f"  repetition {repetition + 1}, {name}: {figures[name][-1]:.3f}", flush=True)
    return figures


def compare(
    what: str,
    ours: Sequence[float],
    peer: Sequence[float],
    *,
    peer_name: str,
    unit: str,
    target: float | None = None,
    less_is_better: bool = False,
) -> Comparison:
    """The arms' figures, repetition by repetition, as one line."""
    pairs = list(zip(peer, ours, strict=True) if less_is_better else zip(ours, peer, strict=True))
    ratios = [better / other for better, other in pairs]
    return Comparison(
        what=what,
        ours=statistics.median(ours),
        peer=statistics.median(peer),
        peer_name=peer_name,
        unit=unit,
        ratio=statistics.median(ratios),
        ratio_min=min(ratios),
        ratio_max=max(ratios),
        repetitions=len(ratios),
        target=target,
    )


def show(benchmark: str, outcome: Outcome) -> None:
    """Print the table."""
    table = Table(title=f"{benchmark}: {outcome.parity}", title_justify="left")
    for column in ("what", "unit", "ours", "peer", "peer's name", "ratio", "min to max", "target"):
        table.add_column(column)
    for row in outcome.rows:
        spread = f"{row.ratio_min:.2f} to {row.ratio_max:.2f}"
        target = f"{row.target:g}" if row.target else ""
        table.add_row(
            row.what, row.unit, f"{row.ours:.4g}", f"{row.peer:.4g}", row.peer_name, f"{row.ratio:.2f}", spread, target
        )
    Console(width=150).print(table)


def write(benchmark: str, outcome: Outcome, command: str, folder: Path = RESULTS) -> Path:
    """Keep the result as `<id>.json`."""
    value = {
        "id": benchmark,
        "parity": outcome.parity,
        "rows": [round_figures(asdict(row)) for row in outcome.rows],
        "machine": describe_machine(),
        "versions": find_versions(),
        "command": command,
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{benchmark}.json"
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    return path


def round_figures(row: dict[str, Any]) -> dict[str, Any]:
    """Four significant digits."""
    return {key: float(f"{value:.4g}") if isinstance(value, float) else value for key, value in row.items()}


def describe_machine() -> dict[str, Any]:
    """The machine that the figures come from. `load` is the one-minute load average at the end."""
    import torch

    return {
        "processor": _read_processor() or platform.processor(),
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": platform.platform(),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2),
    }


def find_versions() -> dict[str, str]:
    """Versions of the compared packages that are installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _read_processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = split_lines(path.read_text(encoding="utf-8")) if path.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
