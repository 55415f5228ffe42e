"""Stands between an agent and a provider: budget, rate limits, concurrency, retries and a circuit breaker."""

import random
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from threading import Event, Lock
from typing import TypeVar

from pada_agent.app.adapters.llm.places import Places
from pada_agent.core.config import BudgetConfig, ModelConfig
from pada_agent.core.errors import BudgetExceededError, ModelUnavailableError
from pada_agent.core.records import Usage

ResultT = TypeVar("ResultT")

MAX_RETRIES = 8
"""Adds up to two minutes of waiting, which survives an outage of a minute."""
MAX_RETRIES_UNMET = 3
"""For a server that has never been reached: probably the address is wrong, or nothing is running there."""
FIRST_WAIT_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 60.0
SHORTEST_OBEYED_SECONDS = 5.0
"""A shorter Retry-After is replaced by our own back-off, up to this long, because servers send 0 and dates in the past."""
LONGEST_OBEYED_SECONDS = 600.0
"""A longer Retry-After is an outage, not a pause."""
BREAKER_FAILURES = 3
"""Number of calls in a row that finally failed before the circuit opens."""
BREAKER_PAUSE_SECONDS = 60.0
"""After this time, calls are let through again, because a server process may outlive an outage."""


class RetryableError(Exception):
    """A failure that may pass: 429, 5xx, timeout, lost connection."""

    def __init__(self, message: str, *, retry_after_seconds: float | None = None, no_connection: bool = False) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds
        self.no_connection = no_connection


class Clock:
    """Time, replaceable in tests."""

    def __init__(self) -> None:
        self._stopped = Event()

    def now(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait. Returns at once when stopped."""
        self._stopped.wait(seconds)

    def stop(self) -> None:
        """End all waiting, now and later."""
        self._stopped.set()

    @property
    def is_stopped(self) -> bool:
        return self._stopped.is_set()


class Budget:
    """Hard limits over all roles of a run. `spent` returns what the run has used so far."""

    limits: BudgetConfig
    """The next call of the graph in the same process may change them."""

    def __init__(self, limits: BudgetConfig, spent: Callable[[], Usage]) -> None:
        self.limits = limits
        self._spent = spent
        self._n_in_flight = 0
        self._lock = Lock()

    @property
    def n_in_flight(self) -> int:
        """Number of calls that have begun but not ended. Takes no lock, because a signal handler asks."""
        return self._n_in_flight

    def begin(self) -> None:
        """Hold a place for one call, until `ending`.

        The number of calls is never exceeded. Tokens and money are known only afterwards, so calls in flight may
        overshoot those limits.

        Raises:
            BudgetExceededError: a limit is reached.
        """
        with self._lock:
            self._check()
            self._n_in_flight += 1

    @contextmanager
    def ending(self) -> Iterator[None]:
        """Record inside what the call has cost. For others, it is then spent and no longer in flight at the same moment."""
        with self._lock:
            try:
                yield
            finally:
                self._n_in_flight -= 1

    def _check(self) -> None:
        used, limits = self._spent(), self.limits
        found = [
            ("max_calls", used.n_calls + self._n_in_flight, limits.max_calls),
            ("max_tokens", used.input_tokens + used.output_tokens, limits.max_tokens),
            ("max_usd", used.cost_usd, limits.max_usd),
        ]
        for name, value, limit in found:
            if limit is not None and value >= limit:
                raise BudgetExceededError(
                    f"budget.{name} is used up: {value:g} of {limit:g}. Everything paid for is kept. To continue, run the same "
                    f"settings again with a higher budget.{name}."
                )


@dataclass
class _Quota:
    """What may be used per minute. It is given back a minute after it was used, and no faster than the limit."""

    limit: int
    used: int = 0
    returns: deque[tuple[float, int]] = field(default_factory=deque)
    """When how much is given back."""
    settled: float = 0.0
    """When everything used so far is given back."""

    def find_wait(self, now: float) -> float:
        """Seconds until something is free."""
        while self.returns and self.returns[0][0] <= now:
            self.used -= self.returns.popleft()[1]
        used, free_at = self.used, now
        for at, amount in self.returns:
            if used < self.limit:
                break
            used, free_at = used - amount, at
        return free_at - now

    def use(self, amount: int, now: float) -> None:
        """Use so much. More than is free may be used; it then takes longer until something is."""
        self.settled = max(now + 60, max(now, self.settled) + amount * 60 / self.limit)
        self.used += amount
        self.returns.append((self.settled, amount))


class RateLimiter:
    """Requests and tokens per minute. In no minute do more requests go out than allowed. Tokens are charged after the call,
    so those of the calls in flight may exceed the limit; later calls make up for it."""

    def __init__(self, requests_per_minute: int | None, tokens_per_minute: int | None, clock: Clock) -> None:
        self._requests = _Quota(requests_per_minute) if requests_per_minute else None
        self._tokens = _Quota(tokens_per_minute) if tokens_per_minute else None
        self._clock = clock
        self._lock = Lock()

    def acquire(self) -> None:
        """Wait until a request may go out."""
        while (seconds := self._take_or_wait()) > 0 and not self._clock.is_stopped:
            self._clock.sleep(seconds)

    def charge(self, tokens: int) -> None:
        """Record the tokens of a finished call."""
        with self._lock:
            if self._tokens:
                self._tokens.use(tokens, self._clock.now())

    def _take_or_wait(self) -> float:
        with self._lock:
            now = self._clock.now()
            wait = max((quota.find_wait(now) for quota in (self._requests, self._tokens) if quota), default=0.0)
            if not wait and self._requests:
                self._requests.use(1, now)
            return wait


class CallGate:
    """Lets calls of one role through: only so many at once and per minute, and with retries where these may help."""

    def __init__(self, config: ModelConfig, clock: Clock | None = None) -> None:
        self._clock = clock or Clock()
        in_batches = config.economy == "batch"  # all calls of a stage come at once, and none of them is a request
        rates = (None, None) if in_batches else (config.requests_per_minute, config.tokens_per_minute)
        self._rates = RateLimiter(*rates, self._clock)
        self._places = None if in_batches else Places(config.max_concurrency)
        self._failures = 0
        self._last_failure = ""
        self._refused_until = 0.0
        self._is_met = False
        self._not_before = 0.0
        self._jitter = random.Random()

    def run(self, call: Callable[[], ResultT], *, tokens_of: Callable[[ResultT], int], rank: int = 0) -> ResultT:
        """The call's result.

        Args:
            rank: of the calls that wait for a place, the one with the lowest rank is next.

        Raises:
            ModelUnavailableError: retries are used up, or too many earlier calls have failed.
        """
        with self._places.take(rank) if self._places else nullcontext():
            self._check_circuit()
            try:
                result = self._retry(call)
            except ModelUnavailableError as exc:
                self._failures += 1
                self._last_failure = str(exc)
                self._refused_until = self._clock.now() + BREAKER_PAUSE_SECONDS
                raise
            self._failures = 0
        self._rates.charge(tokens_of(result))
        return result

    def close(self) -> None:
        """Let no further calls through, and end the waits of running ones."""
        self._clock.stop()

    def _check_circuit(self) -> None:
        if self._clock.is_stopped:
            raise ModelUnavailableError("the run was closed")
        paused = self._clock.now() < self._refused_until
        if self._failures >= BREAKER_FAILURES and paused:
            raise ModelUnavailableError(f"gave up after {self._failures} failed calls in a row: {self._last_failure}")

    def _retry(self, call: Callable[[], ResultT]) -> ResultT:
        for attempt in range(MAX_RETRIES + 1):
            self._pause()
            self._rates.acquire()
            if self._clock.is_stopped:
                raise ModelUnavailableError("the run was closed")
            try:
                result = call()
            except RetryableError as exc:
                self._is_met |= not exc.no_connection
                self._wait(exc, attempt)
            else:
                self._is_met = True
                return result
        raise AssertionError("unreachable")

    def _wait(self, error: RetryableError, attempt: int) -> None:
        """Wait before the next attempt.

        Raises:
            ModelUnavailableError: there are no attempts left.
        """
        if attempt >= (MAX_RETRIES if self._is_met else MAX_RETRIES_UNMET):
            raise ModelUnavailableError(f"{error} (tried {attempt + 1} times)") from error
        asked = error.retry_after_seconds
        if asked is not None and asked > LONGEST_OBEYED_SECONDS:
            raise ModelUnavailableError(f"{error} (the server asks to wait {asked / 60:.0f} minutes)") from error
        back_off = min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2**attempt) * self._jitter.uniform(0.5, 1.0)
        if asked is None:
            self._clock.sleep(back_off)
            return
        seconds = max(asked, min(back_off, SHORTEST_OBEYED_SECONDS))
        self._not_before = max(self._not_before, self._clock.now() + seconds)
        self._pause()

    def _pause(self) -> None:
        """If a server asks one call to wait, all calls wait."""
        while (seconds := self._not_before - self._clock.now()) > 0 and not self._clock.is_stopped:
            self._clock.sleep(seconds)
