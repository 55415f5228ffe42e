"""`pada` on the toy world: command line, graph, worker protocol, checkpoints, cache and HTTP are real, student and embedder are toys.

A run takes seconds, so that it can be stopped in every stage. Run as `python -m tests.toy_command ARGUMENTS`.
"""

import sys
from pathlib import Path
from typing import Any

from pada_agent.app import cli, wiring
from pada_agent.app.adapters.compute.local_compute import LocalCompute
from tests.tiny_world import save_rows
from tests.toy_student import save_hollow_model
from tests.toy_world import WordCountEmbedder

WORKER = (sys.executable, "-m", "tests.toy_worker")


def use_toys(wiring: Any = wiring) -> None:
    """Of this process, from now on."""
    wiring.open_compute = lambda _, folder: LocalCompute(folder / "objects", folder / "worker.log", command=WORKER)
    wiring.SentenceEmbedder = lambda _: WordCountEmbedder()
    wiring.StudentTokenCounter = lambda *_: None


def save_toy_world(folder: Path, **changes: Any) -> dict[str, Any]:
    """Write rows; the settings that name them, without the LLM roles."""
    student = save_hollow_model(folder / "student")
    return {**save_rows(folder, student=student, embedder=student), **changes}


if __name__ == "__main__":
    use_toys()
    cli.main()
