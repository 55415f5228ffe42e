"""Processes that share a fine-tuning on one machine, each with its own device (data parallel).

The first is the worker. It starts the others with its own command and gives them the same job. Each computes its part of every
batch; gradients and losses are summed, so all processes take the same step.
"""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from threading import Event, Thread
from typing import Any, TypeVar

import torch
from torch import distributed
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from pada_agent.core.errors import ConfigError

COMMAND = (sys.executable, "-m", "pada_agent.training.worker")
RANK, SIZE, PORT, THREADS = "PADA_RANK", "PADA_PROCESSES", "PADA_PORT", "PADA_THREADS"
HOST = "127.0.0.1"
GRACE_SECONDS = 5
"""If all processes fail alike, the first one reports the error itself within this time."""
PATIENCE = timedelta(hours=1)
"""Timeout for another process, which may still be loading the student. A lost one is noticed at once."""
T = TypeVar("T")
GiveUp = Callable[[str, str], None]
"""Takes the class and message of an error, reports it, and ends this process."""
Process = subprocess.Popen[str]


@dataclass(frozen=True)
class Team:
    """A process's place among those that share a fine-tuning."""

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is the process that reads a checkpoint, writes and reports."""
        return self.rank == 0

    def take_part(self, batch: Sequence[T]) -> Sequence[T]:
        """This process's rows of a batch; none if there are more processes than rows."""
        return batch[self.rank :: self.size]

    def spread(self, value: T) -> T:
        """The value that the first process passes, returned in every process."""
        if self.size == 1:
            return value
        values = [value]
        with _await_verdict():
            distributed.broadcast_object_list(values, src=0)
        return values[0]

    def add_up(self, loss: torch.Tensor, parameters: Sequence[torch.nn.Parameter]) -> torch.Tensor:
        """The sum of all processes' losses. Gradients become their sums too, the same in every process."""
        if self.size == 1:
            return loss
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        flat = torch.cat([loss.reshape(1), *(gradient.flatten() for gradient in gradients)])
        with _await_verdict():
            distributed.all_reduce(flat)
        sums = torch.split(flat[1:], [gradient.numel() for gradient in gradients])
        for parameter, total in zip(parameters, sums, strict=True):
            parameter.grad = total.view_as(parameter)
        return flat[0]

    def seed_step(self, seed: int, step: int) -> None:
        """Seed torch by job, step and process alone, so that each process draws its own dropout, and a restart draws the same."""
        if self.size > 1:
            torch.manual_seed(((seed * 1_000_003 + step) * self.size + self.rank) % 2**63)


ALONE = Team()


def check_gpus(size: int, device: torch.device) -> None:
    """Whether each of `size` processes can have a GPU. On CPU, they share its cores.

    Raises:
        ConfigError: there are fewer.
    """
    if device.type == "cuda" and size > torch.cuda.device_count():
        raise ConfigError(
            f"compute.processes: a fine-tuning in {size} processes needs a GPU for each, and torch sees {torch.cuda.device_count()} here."
            " Lower it (on a cluster, lower compute.cluster.num_gpus)."
        )


def end_at_once(kind: str, message: str) -> None:
    """A `GiveUp` that leaves the error in the log."""
    print(f"{kind}: {message}", file=sys.stderr, flush=True)
    os._exit(1)


@contextmanager
def gather(size: int, device: torch.device, job: str, give_up: GiveUp) -> Iterator[Team]:
    """The team of this process and `size - 1` others, which are started here, get the line `job`, and end with the context.

    They also end when this process does, because their stdin closes. If one of them is lost, this process ends the same way. If one
    fails while this one waits for it, `give_up` is called from another thread.

    Raises:
        ConfigError: there are fewer GPUs than processes.
    """
    check_gpus(size, device)
    store = _open_store(size)
    n_threads, n_own = torch.get_num_threads(), max(1, torch.get_num_threads() // size)
    common = os.environ | {SIZE: str(size), PORT: str(store.port), THREADS: str(n_own)}
    others = [_start(common | {RANK: str(rank)}, job) for rank in range(1, size)]
    at_rest = Event()
    for i, process in enumerate(others, start=2):
        who = f"process {i} of {size} of the fine-tuning"
        Thread(target=_watch, args=(process, who, at_rest, give_up), daemon=True).start()
    torch.set_num_threads(n_own)
    try:
        with _meet(store, Team(rank=0, size=size), device) as team:
            yield team
    finally:
        at_rest.set()
        torch.set_num_threads(n_threads)
        for process in others:
            process.kill()
            process.wait()


@contextmanager
def join(environment: Mapping[str, str], device: torch.device) -> Iterator[Team]:
    """The team of a process that another has started for it; `ALONE` in any other process."""
    if RANK not in environment:
        yield ALONE
        return
    team = Team(rank=int(environment[RANK]), size=int(environment[SIZE]))
    store = TCPStore(HOST, int(environment[PORT]), team.size, is_master=False)
    with _meet(store, team, device):
        yield team


def _open_store(size: int) -> Any:
    """Where the processes find each other. By default, torch would listen on all of the machine's addresses."""
    listening = socket.create_server((HOST, 0))
    port = listening.getsockname()[1]
    return TCPStore(HOST, port, size, is_master=True, wait_for_workers=False, master_listen_fd=listening.detach())


@contextmanager
def _meet(store: Any, team: Team, device: torch.device) -> Iterator[Team]:
    for library in ("GLOO", "NCCL"):
        os.environ.setdefault(f"{library}_SOCKET_IFNAME", "lo")  # one machine alone
    backend = "nccl" if device.type == "cuda" else "gloo"
    distributed.init_process_group(backend, store=store, rank=team.rank, world_size=team.size, timeout=PATIENCE)
    try:
        yield team
    finally:
        distributed.destroy_process_group()


def _start(environment: Mapping[str, str], job: str) -> Process:
    process = subprocess.Popen(
        COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8", env=environment
    )
    with suppress(BrokenPipeError):  # `_watch` sees that it ended
        process.stdin.write(job + "\n")  # type: ignore[union-attr]
        process.stdin.flush()  # type: ignore[union-attr]
    return process


def _watch(process: Process, who: str, at_rest: Event, give_up: GiveUp) -> None:
    for line in process.stdout:  # type: ignore[union-attr]
        event = json.loads(line) if line.endswith("\n") else {"event": "torn"}
        if event["event"] == "error" and not at_rest.wait(GRACE_SECONDS):
            give_up(event["type"], f"{event['message']} ({who})")
    code = process.wait()
    if not at_rest.is_set():
        print(f"{who} was lost", file=sys.stderr, flush=True)
        _end_like(code)


def _end_like(code: int) -> None:
    """End this process the way another ended. If that one was killed, the backend then keeps the checkpoint."""
    if code < 0:
        os.kill(os.getpid(), -code)
    os._exit(code or 1)


@contextmanager
def _await_verdict() -> Iterator[None]:
    """A connection error means that another process was lost. Why it was says more, so leave time for `_watch` to end this process."""
    try:
        yield
    except RuntimeError:
        time.sleep(2 * GRACE_SECONDS)
        raise
