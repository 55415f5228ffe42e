"""What several rooms ask of files and of the machine."""

import hashlib
import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import psutil

WAITING: Mapping[str, str] = {
    "OMP_WAIT_POLICY": "PASSIVE",
    "GOMP_SPINCOUNT": "30000",
    "OPENBLAS_THREAD_TIMEOUT": "4",
}
"""How threads wait for each other: OpenMP's some tenths of a millisecond awake, then asleep, those of numpy's OpenBLAS asleep at once.

Spinning on makes torch's matrix products about four times slower when the cores are shared (2 threads on 2 busy cores), and
brings llama.cpp to a standstill. Sleeping at once costs generation 8 to 14% and fine-tuning about 4 on quiet cores; on busy
ones no difference was found (docs/adr/0009). OpenBLAS threads would stay awake for about 25 ms after each product; on two
cores, that was more than half of the processor time of the driver's work on a batch."""

LLAMA_SERVER = "PADA_LLAMA_SERVER"
"""Environment variable that names a llama.cpp of the user's own for the embedded engine."""

OPENMP = frozenset({"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"})


def hash_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_once(path: Path) -> str:
    """The same, read only once while the file does not change."""
    stat = path.stat()
    return _hash_once(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=256)
def _hash_once(path: Path, n_bytes: int, mtime_ns: int) -> str:
    """Size and time of change only serve as keys of the cache."""
    del n_bytes, mtime_ns
    return hash_file(path)


def count_cores() -> int:
    """Cores this process may use: in many containers fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def count_at_once(memory_bytes: int) -> int:
    """Number of processes that may run at the same time if each takes up to this much memory: one per core, as long as memory is free."""
    return max(1, min(count_cores(), psutil.virtual_memory().available // memory_bytes))


def add_waiting(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment for a process that computes, with `WAITING` where it does not say how threads wait.

    Each library reads its own part when it is loaded: OpenMP's two values belong together.
    """
    own = WAITING if not OPENMP & environment.keys() else {k: v for k, v in WAITING.items() if k not in OPENMP}
    return {**own, **environment}
