"""Simulates an experiment on a cluster: who waits for what, and when everything is finished. Pure, and knows nothing about settings.

A run is a chain of steps. Student jobs need a worker each, LLM calls share the limits of their model, and the driver's own work
shares the driver. Jobs and calls with the same key are done once: whoever comes second waits for the first, or finds the result.
"""

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count


@dataclass(frozen=True)
class StudentJob:
    """One job of the student: a fine-tuning, or the evaluation of one shard."""

    key: str
    seconds: float
    student: str = ""
    """A worker that has another student loaded loads this one first."""


@dataclass(frozen=True)
class Calls:
    """LLM calls that do not wait for each other."""

    key: str
    model: str
    n: int
    seconds: float
    """Duration of one call."""
    width: int
    """Maximum number of them at the same time."""

    @property
    def seconds_alone(self) -> float:
        """Duration if nobody else uses the model and it has no limits."""
        return math.ceil(self.n / self.width) * self.seconds


@dataclass(frozen=True)
class DriverWork:
    """Work of the process that drives all runs, such as embedding."""

    seconds: float


@dataclass(frozen=True)
class Together:
    """Chains of steps that run side by side. The next step waits for all of them."""

    chains: tuple[tuple["Step", ...], ...]


Step = StudentJob | Calls | DriverWork | Together


@dataclass(frozen=True)
class Limits:
    """The limits of one LLM, over all runs. Infinite if there are none."""

    max_concurrency: float = math.inf
    requests_per_minute: float = math.inf


@dataclass(frozen=True)
class Cluster:
    """What the experiment runs on."""

    n_workers: int
    n_at_once: int
    """Number of runs at the same time."""
    load_seconds: float = 0.0
    """For a worker to load a student."""
    limits: Mapping[str, Limits] = field(default_factory=dict)
    """By model."""
    n_drivers: int = 1
    """For how many runs the driver can work at the same time."""


@dataclass(frozen=True)
class Course:
    """How the simulated experiment went."""

    seconds: float
    busy_seconds: float
    """Working time of all workers together, including loading."""
    n_workers: int

    @property
    def busy_share(self) -> float:
        """Fraction of the workers' time in which they worked."""
        return self.busy_seconds / (self.seconds * self.n_workers) if self.seconds else 0.0


def simulate(chains: Sequence[Sequence[Step]], cluster: Cluster) -> Course:
    """Run all chains, started in their order and `n_at_once` at a time."""
    return _Simulation(cluster).run(chains)


def measure_chain(steps: Sequence[Step]) -> float:
    """Duration of a chain that never waits for anybody else, without loading."""
    return sum(map(_measure_step, steps))


def _measure_step(step: Step) -> float:
    match step:
        case Together(chains):
            return max(map(measure_chain, chains), default=0.0)
        case Calls():
            return step.seconds_alone
        case _:
            return step.seconds


class _Signal:
    """Something that happens once, and notifies whoever waits for it."""

    def __init__(self) -> None:
        self.is_set = False
        self._waiting: list[Callable[[], None]] = []

    def then(self, act: Callable[[], None]) -> None:
        """Call `act` now if it has happened, otherwise as soon as it does."""
        if self.is_set:
            act()
        else:
            self._waiting.append(act)

    def set(self) -> None:
        self.is_set = True
        for act in self._waiting:
            act()
        self._waiting.clear()


class _Clock:
    """Simulated time: calls what was scheduled, in the order of time."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()

    def after(self, seconds: float, act: Callable[[], None]) -> None:
        heappush(self._events, (self.now + seconds, next(self._numbers), act))

    def run(self) -> None:
        while self._events:
            self.now, _, act = heappop(self._events)
            act()


class _Shared:
    """Something that many use at the same time. If they want more than there is, all of them slow down by the same factor.

    Time is counted in seconds of someone who is not slowed down, so that each use ends at a known count.
    """

    def __init__(self, clock: _Clock, capacities: Sequence[float]) -> None:
        self._clock = clock
        self._capacities = tuple(capacities)
        self._wanted = [0.0] * len(self._capacities)
        self._count = 0.0
        self._counted_at = 0.0
        self._ends: list[tuple[float, int, tuple[float, ...], _Signal]] = []
        self._numbers = count()
        self._version = 0

    def use(self, seconds: float, wanted: tuple[float, ...]) -> _Signal:
        """Begin a use that takes `seconds` if it gets all it wants, one amount for each capacity. Returns its end."""
        self._advance()
        end = _Signal()
        heappush(self._ends, (self._count + seconds, next(self._numbers), wanted, end))
        self._wanted = [a + b for a, b in zip(self._wanted, wanted, strict=True)]
        self._schedule()
        return end

    @property
    def _speed(self) -> float:
        return min(1.0, *(c / w for c, w in zip(self._capacities, self._wanted, strict=True) if w > 0), 1.0)

    def _advance(self) -> None:
        self._count += (self._clock.now - self._counted_at) * self._speed
        self._counted_at = self._clock.now

    def _schedule(self) -> None:
        self._version += 1
        if self._ends:
            version, speed = self._version, self._speed
            self._clock.after(max(0.0, self._ends[0][0] - self._count) / speed, lambda: self._end(version))

    def _end(self, version: int) -> None:
        if version != self._version:
            return
        self._advance()
        self._count, _, wanted, end = heappop(self._ends)
        self._wanted = [a - b for a, b in zip(self._wanted, wanted, strict=True)] if self._ends else [0.0] * len(wanted)
        self._schedule()
        end.set()


class _Workers:
    """Workers that take the job that has waited longest. A free one that has the student loaded is preferred."""

    def __init__(self, clock: _Clock, cluster: Cluster) -> None:
        self._clock = clock
        self._cluster = cluster
        self._free: list[str] = []
        """What each free worker has loaded."""
        self._n_unused = cluster.n_workers
        self._queue: deque[tuple[StudentJob, _Signal]] = deque()
        self.busy_seconds = 0.0

    def submit(self, job: StudentJob) -> _Signal:
        done = _Signal()
        self._queue.append((job, done))
        self._start_next()
        return done

    def _start_next(self) -> None:
        while self._queue and (self._free or self._n_unused):
            job, done = self._queue.popleft()
            seconds = job.seconds
            if self._take(job.student) != job.student:
                seconds += self._cluster.load_seconds
            self.busy_seconds += seconds
            self._clock.after(seconds, lambda job=job, done=done: self._finish(job, done))  # type: ignore[misc]

    def _take(self, student: str) -> str | None:
        """What the chosen worker has loaded."""
        if student in self._free:
            self._free.remove(student)
            return student
        if self._free:
            return self._free.pop(0)
        self._n_unused -= 1
        return None

    def _finish(self, job: StudentJob, done: _Signal) -> None:
        self._free.append(job.student)
        self._start_next()
        done.set()


class _Simulation:
    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._clock = _Clock()
        self._workers = _Workers(self._clock, cluster)
        self._driver = _Shared(self._clock, [float(cluster.n_drivers)])
        self._models: dict[str, _Shared] = {}
        self._known: dict[str, _Signal] = {}

    def run(self, chains: Sequence[Sequence[Step]]) -> Course:
        waiting = deque(chains)

        def start_next() -> None:
            if waiting:
                self._begin(waiting.popleft()).then(start_next)

        for _ in range(min(self._cluster.n_at_once, len(waiting))):
            start_next()
        self._clock.run()
        return Course(
            seconds=self._clock.now, busy_seconds=self._workers.busy_seconds, n_workers=self._cluster.n_workers
        )

    def _begin(self, steps: Sequence[Step]) -> _Signal:
        """Begin a chain. Returns its end."""
        end = _Signal()
        rest = iter(steps)

        def go_on() -> None:
            step = next(rest, None)
            if step is None:
                end.set()
            else:
                self._do(step).then(lambda: self._clock.after(0.0, go_on))

        go_on()
        return end

    def _do(self, step: Step) -> _Signal:
        match step:
            case StudentJob():
                return self._once(f"job {step.key}", lambda: self._workers.submit(step))
            case Calls():
                return self._once(f"calls {step.key}", lambda: self._call(step))
            case DriverWork(seconds):
                return self._driver.use(seconds, (1.0,))
            case Together(chains):
                return _all_of([self._begin(chain) for chain in chains])

    def _once(self, key: str, begin: Callable[[], _Signal]) -> _Signal:
        if key not in self._known:
            self._known[key] = begin()
        return self._known[key]

    def _call(self, calls: Calls) -> _Signal:
        if calls.n == 0:
            return _all_of([])
        if calls.model not in self._models:
            limits = self._cluster.limits.get(calls.model, Limits())
            self._models[calls.model] = _Shared(self._clock, [limits.max_concurrency, limits.requests_per_minute / 60])
        seconds = calls.seconds_alone or 1e-9
        return self._models[calls.model].use(seconds, (calls.n * calls.seconds / seconds, calls.n / seconds))


def _all_of(signals: Sequence[_Signal]) -> _Signal:
    whole = _Signal()
    missing = len(signals)

    def one_less() -> None:
        nonlocal missing
        missing -= 1
        if not missing:
            whole.set()

    for signal in signals:
        signal.then(one_less)
    if not signals:
        whole.set()
    return whole
