"""The board of a Ray cluster: which jobs there are, who waits for them, and which workers run them.

Ray itself places workers, starts them, and notices when one is lost. One board serves all runs of a cluster.
"""

import asyncio
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import ray
from ray.exceptions import ActorUnavailableError, OutOfMemoryError, RayActorError, RayError

from pada_agent.app.adapters.compute.ray_jobs import Heard, JobRequest, Outcome, Shape
from pada_agent.app.adapters.compute.ray_worker import RayWorker
from pada_agent.core.compute_config import ClusterConfig
from pada_agent.core.progress import Progress

LONG_POLL_SECONDS = 10
HOUSEKEEPING_SECONDS = 5
CANCEL_SECONDS = 5
"""Time for a worker to answer a cancellation. After that, it is killed."""
SILENCE_SECONDS = 120
"""A worker that cannot be reached for this long is given up."""
GONE_SECONDS = 60
"""A driver that was not heard from for this long keeps no job from being cancelled. If it is still there, it submits the job again."""
LOST = (RayActorError, OutOfMemoryError)
"""How Ray reports a worker that was lost. The second one: Ray ended it, because its node was running out of memory."""


@dataclass(eq=False)
class Worker:
    """An actor, and what it was made for."""

    actor: Any
    shape: Shape
    student: str = ""
    """The student that it has loaded. The next job with this student starts at once."""
    idle_since: float = field(default_factory=time.monotonic)
    entry: "Entry | None" = None
    """What it runs. None if it is idle."""
    ready: bool = False
    """Whether Ray has found a place for it."""
    starting: "asyncio.Task[None] | None" = None

    @property
    def is_idle(self) -> bool:
        return self.ready and self.entry is None


@dataclass(eq=False)
class Entry:
    """A job on the board."""

    request: JobRequest
    events: list[Progress] = field(default_factory=list)
    outcome: Outcome | None = None
    followers: set[str] = field(default_factory=set)
    """Drivers that submitted the job and have not left it. They may wait for another job first."""
    heard: float = field(default_factory=time.monotonic)
    """When any driver last asked for this job."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    task: "asyncio.Task[None] | None" = None
    ticket: str = field(default_factory=lambda: uuid4().hex)
    """Identifies this submission: a cancellation that reaches the worker before the job does must not cancel a later one."""

    def tell(self, event: Progress | None = None) -> None:
        if event:
            self.events.append(event)
        self.changed.set()
        self.changed = asyncio.Event()


class Board:
    """A detached async actor. It outlives the drivers, and ends by itself when there is nothing to do.

    All its methods may be called again with the same arguments, because Ray repeats calls after the board was
    restarted.
    """

    def __init__(self, settings: ClusterConfig) -> None:
        self._settings = settings
        self._entries: dict[str, Entry] = {}
        self._workers: list[Worker] = []
        self._freed = asyncio.Condition()
        self._waiting: Counter[Shape] = Counter()
        """Jobs that wait for a worker, by the shape that they need."""
        self._lost_at_start: dict[Shape, RayError] = {}
        self._heard: dict[str, float] = {}
        """When each driver was last heard from, about whichever job."""
        self._used = time.monotonic()
        self._housekeeper: asyncio.Task[None] | None = None

    async def submit(self, request: JobRequest, driver: str, settings: ClusterConfig) -> None:
        """Accept the job, unless it is already here or finished. After a failure it may be submitted again."""
        self._settings = settings
        self._housekeeper = self._housekeeper or asyncio.create_task(self._keep_house())
        entry = self._entries.get(request.key)
        is_over = entry and entry.outcome and (entry.outcome.error or not await asyncio.to_thread(_is_done, request))
        if is_over and self._entries.get(request.key) is entry:  # nobody else has submitted it again meanwhile
            del self._entries[request.key]
        if (entry := self._entries.get(request.key)) is None:
            entry = self._entries[request.key] = Entry(request)
            entry.task = asyncio.create_task(self._see_through(entry))
        self._note(driver, entry)

    async def follow(self, key: str, driver: str, since: int) -> Heard | None:
        """What happened to the job after its first `since` events; waits until there is something. None: there is no
        such job here, or not any more, so submit it again.
        """
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._note(driver, entry)
        if len(entry.events) <= since and entry.outcome is None:
            with suppress(TimeoutError):
                await asyncio.wait_for(entry.changed.wait(), LONG_POLL_SECONDS)
        self._used = self._heard[driver] = entry.heard = time.monotonic()
        if self._entries.get(key) is not entry:  # cancelled by others, who knew of no one that waits
            return None
        return Heard(events=tuple(entry.events[since:]), outcome=entry.outcome)

    def _note(self, driver: str, entry: Entry) -> None:
        entry.followers.add(driver)
        self._used = self._heard[driver] = entry.heard = time.monotonic()

    def _last_heard(self, entry: Entry) -> float:
        """When any driver that waits for the job was last heard from. It may have waited for other jobs since it submitted this one."""
        return max((self._heard.get(driver, 0) for driver in entry.followers), default=entry.heard)

    async def report(self, key: str, progress: Progress) -> None:
        """Called by the worker that runs the job."""
        if entry := self._entries.get(key):
            entry.tell(progress)

    async def leave(self, key: str, driver: str) -> None:
        """The driver no longer waits for this job. If nobody else does, the job ends."""
        entry = self._entries.get(key)
        if entry is None or entry.outcome:
            return
        entry.followers.discard(driver)
        if not entry.followers or time.monotonic() - self._last_heard(entry) > GONE_SECONDS:
            await self._cancel(entry)

    async def describe(self) -> dict[str, Any]:
        """Jobs by their state, and workers: for tests and for people who want to look."""
        unfinished = [entry.request.job_id for entry in self._entries.values() if entry.outcome is None]
        workers = [(str(w.shape), w.entry and w.entry.request.key) for w in self._workers]
        return {"unfinished": unfinished, "workers": workers}

    async def _cancel(self, entry: Entry) -> None:
        job_id = entry.request.job_id
        if self._entries.get(entry.request.key) is entry:
            del self._entries[entry.request.key]  # who submits it from now on gets another attempt
        worker = next((w for w in self._workers if w.entry is entry), None)
        if worker is None and entry.task:
            entry.task.cancel()
        elif worker:
            cancelled = asyncio.ensure_future(worker.actor.cancel.remote(job_id, entry.ticket))
            await asyncio.wait([cancelled], timeout=CANCEL_SECONDS)
        entry.outcome = entry.outcome or Outcome(error="TrainingError", message=f"job {job_id} was cancelled")
        entry.tell()
        if worker and not cancelled.done():  # not placed yet, or out of reach
            await self._remove(worker)

    async def _see_through(self, entry: Entry) -> None:
        """Run the job, and run it again if its node was lost."""
        try:
            outcome = await self._run_until_it_ends(entry)
        except Exception as exc:  # noqa: BLE001 whatever it is, the drivers wait to hear of it
            outcome = Outcome(error="TrainingError", message=f"job {entry.request.job_id}: {type(exc).__name__}: {exc}")
        entry.outcome = entry.outcome or outcome
        entry.tell()

    async def _run_until_it_ends(self, entry: Entry) -> Outcome:
        lost = ""
        for attempt in range(self._settings.retries + 1):
            is_done = await asyncio.to_thread(_is_done, entry.request)
            if entry.outcome or is_done:
                return entry.outcome or Outcome()
            if attempt:
                entry.tell(Progress(stage="retry", done=attempt, total=self._settings.retries, detail=lost))
            try:
                return await self._run_once(entry)
            except LOST as exc:
                lost = f"the worker was lost: {_shorten(exc)}"
        return Outcome(
            error="TrainingError", message=f"job {entry.request.job_id} was started {attempt + 1} times; {lost}"
        )

    async def _run_once(self, entry: Entry) -> Outcome:
        worker = await self._take_worker(entry)
        try:
            outcome = await self._ask(worker, entry)
        except Exception:  # whatever it is, a worker that is not given back would be busy for ever
            await self._remove(worker)
            raise
        await self._give_back(worker)
        return outcome

    async def _ask(self, worker: Worker, entry: Entry) -> Outcome:
        """Ask a worker to run the job. One that cannot be reached may still be alive: asked again, it joins the job that it is running."""
        board = ray.get_runtime_context().current_actor
        silent_since: float | None = None
        while True:
            try:
                outcome: Outcome = await worker.actor.run.remote(entry.request, entry.ticket, board)
                return outcome
            except ActorUnavailableError:
                silent_since = silent_since or time.monotonic()
                if time.monotonic() - silent_since > SILENCE_SECONDS:
                    raise
                await asyncio.sleep(1)

    async def _take_worker(self, entry: Entry) -> Worker:
        """The first free worker of the right shape, preferably one that has the student loaded.

        Raises:
            RayError: a worker that was being started for the job was lost, or cannot be started.
        """
        request = entry.request
        async with self._freed:
            self._waiting[request.shape] += 1
            try:
                while (worker := self._find_idle(request)) is None:
                    entry.tell(_waiting(self._make_room(request.shape)))
                    await self._freed.wait()
                    if lost := self._lost_at_start.pop(request.shape, None):
                        raise lost
            finally:
                self._waiting[request.shape] -= 1
            worker.entry, worker.student = entry, request.student
        return worker

    def _find_idle(self, request: JobRequest) -> Worker | None:
        fit = [w for w in self._workers if w.is_idle and w.shape == request.shape]
        return max(fit, key=lambda w: (w.student == request.student, w.idle_since), default=None)

    def _make_room(self, shape: Shape) -> str:
        """Start a worker if one is missing, and return what the job waits for. Idle workers of other shapes end,
        because they may hold what it needs.
        """
        for other in [w for w in self._workers if w.is_idle and w.shape != shape]:
            self._end(other)
        starting = [w for w in self._workers if not w.ready and w.shape == shape]
        if len(starting) < self._waiting[shape] and len(self._workers) < self._settings.max_workers:
            worker = Worker(self._start(shape), shape)
            self._workers.append(worker)
            worker.starting = asyncio.create_task(self._await_start(worker))
            starting.append(worker)
        return f"for a node with {shape} free" if starting else f"all {len(self._workers)} workers are busy"

    async def _await_start(self, worker: Worker) -> None:
        try:
            await worker.actor.is_ready.remote()
        except RayError as exc:
            self._lost_at_start[worker.shape] = exc
            await self._remove(worker)
        else:
            worker.ready = True
            await self._give_back(worker)

    def _start(self, shape: Shape) -> Any:
        make = ray.remote(RayWorker).options(
            num_cpus=shape.num_cpus,
            num_gpus=shape.num_gpus,
            accelerator_type=shape.accelerator,
            max_concurrency=4,  # `cancel` reaches it while `run` is under way
            max_restarts=0,
            max_task_retries=0,
        )
        return make.remote(shape)

    async def _give_back(self, worker: Worker) -> None:
        async with self._freed:
            worker.entry, worker.idle_since = None, time.monotonic()
            self._freed.notify_all()

    async def _remove(self, worker: Worker) -> None:
        async with self._freed:
            self._end(worker)
            self._freed.notify_all()

    def _end(self, worker: Worker) -> None:
        """End a worker. Its child process ends too, because its stdin closes."""
        if worker in self._workers:
            self._workers.remove(worker)
        ray.kill(worker.actor)

    async def _keep_house(self) -> None:
        while True:
            await asyncio.sleep(HOUSEKEEPING_SECONDS)
            await self._tidy()

    async def _tidy(self) -> None:
        """End idle workers, jobs that nobody waits for, and finally the board."""
        now = time.monotonic()
        idle, orphan = self._settings.idle_minutes * 60, self._settings.orphan_minutes * 60
        for worker in [
            w for w in self._workers if w.entry is None and now - w.idle_since > idle and not self._waiting[w.shape]
        ]:
            await self._remove(worker)
        for entry in [e for e in self._entries.values() if e.outcome is None]:
            if now - self._last_heard(entry) > orphan:
                await self._cancel(entry)
        self._heard = {driver: at for driver, at in self._heard.items() if now - at <= max(orphan, idle)}
        for key in [k for k, e in self._entries.items() if e.outcome and now - self._last_needed(e) > idle]:
            del self._entries[key]
        if not self._entries and not self._workers and now - self._used > idle:
            ray.kill(ray.get_runtime_context().current_actor, no_restart=True)

    def _last_needed(self, entry: Entry) -> float:
        """Output is found in the store, but an error is nowhere else: it stays until all that wait for the job have heard it."""
        return self._last_heard(entry) if entry.outcome and entry.outcome.error else entry.heard


def _is_done(request: JobRequest) -> bool:
    return request.is_done


def _waiting(detail: str) -> Progress:
    return Progress(stage="wait", done=0, total=1, detail=detail)


def _shorten(exc: Exception) -> str:
    return " ".join(str(exc).split())[:300]
