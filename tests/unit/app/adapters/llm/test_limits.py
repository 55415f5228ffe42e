"""Budget, rates, retries and the circuit breaker, in time that tests make."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Lock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pada_agent.app.adapters.llm.limits import (
    BREAKER_FAILURES,
    BREAKER_PAUSE_SECONDS,
    MAX_RETRIES,
    Budget,
    CallGate,
    RetryableError,
)
from pada_agent.core.config import BudgetConfig, ModelConfig
from pada_agent.core.errors import BudgetExceededError, ModelUnavailableError
from pada_agent.core.records import Usage
from tests.fakes import FakeClock


def make_gate(**limits: int) -> tuple[CallGate, FakeClock]:
    clock = FakeClock()
    return CallGate(ModelConfig(model="openai:x", **limits), clock), clock


def fail_first(n: int, error: RetryableError) -> Callable[[], str]:
    outcomes: Iterator[RetryableError | str] = iter([error] * n + ["done"])

    def call() -> str:
        outcome = next(outcomes)
        if isinstance(outcome, RetryableError):
            raise outcome
        return outcome

    return call


def run(gate: CallGate, call: Callable[[], str] = lambda: "done", tokens: int = 0) -> str:
    return gate.run(call, tokens_of=lambda _: tokens)


def test_waits_grow_and_end() -> None:
    gate, clock = make_gate()
    with pytest.raises(ModelUnavailableError, match=r"oops \(tried 9 times\)"):
        run(gate, fail_first(99, RetryableError("oops")))
    assert len(clock.slept) == MAX_RETRIES
    assert all(min(60, 2**n) / 2 <= seconds <= min(60, 2**n) for n, seconds in enumerate(clock.slept))
    assert sum(clock.slept) > 60, "an outage of a minute passes"


def test_a_server_that_was_never_reached_is_given_up_soon() -> None:
    gate, clock = make_gate()
    with pytest.raises(ModelUnavailableError, match=r"\(tried 4 times\)"):
        run(gate, fail_first(99, RetryableError("no connection", no_connection=True)))
    assert sum(clock.slept) < 10
    assert run(gate) == "done"
    with pytest.raises(ModelUnavailableError, match=r"\(tried 9 times\)"):
        run(gate, fail_first(99, RetryableError("no connection", no_connection=True)))


@pytest.mark.parametrize("asked", [0.0, 0.2])
def test_a_server_that_asks_for_no_wait_is_not_asked_in_a_hot_loop(asked: float) -> None:
    gate, clock = make_gate()
    assert run(gate, fail_first(8, RetryableError("slow", retry_after_seconds=asked))) == "done"
    assert 15 < sum(clock.slept) < 45


def test_a_wait_asked_of_one_call_holds_for_all() -> None:
    gate, clock = make_gate()
    run(gate, fail_first(1, RetryableError("slow", retry_after_seconds=17)))
    gate._not_before = clock.now() + 9
    run(gate)
    assert clock.slept[-1] == pytest.approx(9)


def test_retry_after_goes_before_back_off() -> None:
    gate, clock = make_gate()
    assert run(gate, fail_first(1, RetryableError("slow", retry_after_seconds=17))) == "done"
    assert clock.slept == [17]


def test_a_server_that_asks_to_wait_for_hours_is_not_waited_for() -> None:
    gate, clock = make_gate()
    with pytest.raises(ModelUnavailableError, match="asks to wait 120 minutes"):
        run(gate, fail_first(1, RetryableError("quota", retry_after_seconds=7200)))
    assert clock.slept == []


def test_requests_above_the_limit_wait_for_the_next_minute() -> None:
    gate, clock = make_gate(requests_per_minute=6)
    for _ in range(9):
        run(gate)
    assert clock.t == pytest.approx(80), "six at once, and one every ten seconds after a minute"


@given(
    st.integers(1, 20), st.lists(st.sampled_from([0, 0, 0, 0.5, 3, 30, 59.9, 60, 200]), max_size=80), st.integers(1, 3)
)
def test_no_minute_has_more_requests_than_allowed(limit: int, pauses: list[float], shift: int) -> None:
    gate, clock = make_gate(requests_per_minute=limit)
    clock.t = shift / 3
    times = []
    for pause in pauses:
        clock.t += pause
        run(gate)
        times.append(clock.t)
    for first, beyond in zip(times, times[limit:], strict=False):
        assert beyond - first > 59.999


def test_tokens_used_delay_the_next_call() -> None:
    gate, clock = make_gate(tokens_per_minute=600)
    run(gate, tokens=1200)
    assert clock.t == 0
    run(gate)
    assert clock.t == pytest.approx(120), "two minutes' worth"


def test_the_first_minute_has_no_more_tokens_than_others() -> None:
    gate, clock = make_gate(tokens_per_minute=600)
    n_calls = 0
    while clock.t < 60:
        run(gate, tokens=100)
        n_calls += 1
    assert n_calls == 7, "six in the first minute, and the one that waited for the second"


def test_after_failures_in_a_row_calls_fail_at_once_and_later_try_again() -> None:
    gate, clock = make_gate()
    for _ in range(BREAKER_FAILURES):
        with pytest.raises(ModelUnavailableError):
            run(gate, fail_first(99, RetryableError("down")))
    waited = clock.t
    with pytest.raises(ModelUnavailableError, match=r"gave up after 3 failed calls in a row: down"):
        run(gate)
    assert clock.t == waited
    clock.sleep(BREAKER_PAUSE_SECONDS)
    assert run(gate) == "done"


def test_a_success_closes_the_circuit() -> None:
    gate, _ = make_gate()
    for n_failures in (BREAKER_FAILURES - 1, BREAKER_FAILURES - 1):
        for _ in range(n_failures):
            with pytest.raises(ModelUnavailableError):
                run(gate, fail_first(99, RetryableError("down")))
        assert run(gate) == "done"


def test_no_more_calls_at_once_than_allowed() -> None:
    gate, _ = make_gate(max_concurrency=2)
    lock, running, most = Lock(), [0], [0]

    def call() -> str:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        time.sleep(0.001)
        with lock:
            running[0] -= 1
        return "done"

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: run(gate, call), range(50)))
    assert most[0] == 2


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (BudgetConfig(max_calls=3), r"budget\.max_calls is used up: 3 of 3"),
        (BudgetConfig(max_tokens=50), r"budget\.max_tokens is used up: 50 of 50"),
        (BudgetConfig(max_usd=0.5), r"budget\.max_usd is used up: 0\.5 of 0\.5"),
    ],
)
def test_a_spent_budget_stops_the_next_call(limits: BudgetConfig, words: str) -> None:
    budget = Budget(limits, lambda: Usage(n_calls=3, input_tokens=30, output_tokens=20, cost_usd=0.5))
    with pytest.raises(BudgetExceededError, match=words):
        budget.begin()


def test_calls_in_flight_count_against_the_number_of_calls() -> None:
    budget = Budget(BudgetConfig(max_calls=1), Usage)
    budget.begin()
    with pytest.raises(BudgetExceededError, match="1 of 1"):
        budget.begin()
    with budget.ending():
        pass
    budget.begin()


def test_a_call_is_never_both_in_flight_and_spent() -> None:
    spent = [0]
    budget = Budget(BudgetConfig(max_calls=2), lambda: Usage(n_calls=spent[0]))
    budget.begin()
    with ThreadPoolExecutor(1) as pool:
        with budget.ending():
            spent[0] += 1
            second = pool.submit(budget.begin)
            time.sleep(0.05)
        second.result(timeout=5)


def test_without_limits_nothing_stops() -> None:
    Budget(BudgetConfig(), lambda: Usage(n_calls=10**9, cost_usd=1e9)).begin()
