"""The simulation against cases that can be worked out by hand."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pada_agent.app.estimates.simulation import (
    Calls,
    Cluster,
    DriverWork,
    Limits,
    Step,
    StudentJob,
    Together,
    measure_chain,
    simulate,
)

ONE = Cluster(n_workers=1, n_at_once=1)
TWO = Cluster(n_workers=2, n_at_once=9)


def job(key: str, seconds: float, student: str = "s") -> StudentJob:
    return StudentJob(key=key, seconds=seconds, student=student)


def calls(key: str, n: int, *, width: int = 4, seconds: float = 1.0) -> Calls:
    return Calls(key=key, model="m", n=n, seconds=seconds, width=width)


def test_a_run_alone_takes_the_sum_of_its_steps() -> None:
    chain = [DriverWork(1), job("a", 5), calls("c", 10), job("b", 2)]
    course = simulate([chain], ONE)
    assert course.seconds == pytest.approx(1 + 5 + 3 + 2) == measure_chain(chain)
    assert (course.busy_seconds, course.busy_share) == (7, pytest.approx(7 / 11))


def test_runs_one_after_the_other_and_side_by_side() -> None:
    chains = [[job(f"{i}", 10)] for i in range(4)]
    assert simulate(chains, ONE).seconds == 40
    assert simulate(chains, TWO).seconds == 20
    assert simulate(chains, replace(TWO, n_at_once=1)).seconds == 40, "a second worker has nothing to do"


def test_a_shared_job_is_done_once_and_waited_for() -> None:
    chains = [[job("plain", 10), job(f"own {i}", 1)] for i in range(2)]
    course = simulate(chains, TWO)
    assert (course.seconds, course.busy_seconds) == (11, 12)
    assert simulate(chains, ONE).busy_seconds == 12


def test_shared_replies_are_paid_for_once() -> None:
    chains = [[calls("analysis", 4)], [calls("analysis", 4)]]
    assert simulate(chains, TWO).seconds == 1


def test_a_worker_loads_a_student_once_and_again_after_another() -> None:
    cluster = replace(ONE, load_seconds=100)
    assert simulate([[job("a", 1), job("b", 1)]], cluster).seconds == 102
    assert simulate([[job("a", 1), job("b", 1, "other"), job("c", 1)]], cluster).seconds == 303
    two = replace(cluster, n_workers=2, n_at_once=2)
    both = [[job("a", 1), job("c", 1)], [job("b", 1, "other"), job("d", 1, "other")]]
    assert simulate(both, two).seconds == 102, "each worker keeps its student"


def test_steps_together_take_as_long_as_the_longest() -> None:
    step = Together(((job("a", 3), job("b", 4)), (job("c", 5),)))
    assert simulate([[step, job("d", 1)]], TWO).seconds == 8 == measure_chain([step, job("d", 1)])
    assert simulate([[step]], ONE).seconds == 12
    assert simulate([[Together(()), job("d", 1)]], ONE).seconds == 1


def test_the_limits_of_a_model_hold_for_all_runs() -> None:
    chains = [[calls(f"{i}", 40)] for i in range(3)]
    assert simulate(chains, TWO).seconds == pytest.approx(10)
    for limits, seconds in ((Limits(max_concurrency=6), 20), (Limits(requests_per_minute=120), 60), (Limits(100), 10)):
        assert simulate(chains, replace(TWO, limits={"m": limits})).seconds == pytest.approx(seconds)


def test_what_one_run_leaves_the_others_use() -> None:
    """Both want 4 of 4 at the same time. The short one ends after 2 s, and the other has done 4 of 12 calls by then."""
    chains = [[calls("a", 4)], [calls("b", 12)]]
    assert simulate(chains, replace(TWO, limits={"m": Limits(4)})).seconds == pytest.approx(4)


def test_the_driver_does_the_work_of_one_run_at_a_time() -> None:
    chains = [[DriverWork(10)], [DriverWork(10)]]
    assert simulate(chains, TWO).seconds == pytest.approx(20)
    assert simulate(chains, replace(TWO, n_drivers=2)).seconds == pytest.approx(10)


def test_nothing_to_do_takes_no_time() -> None:
    assert simulate([], ONE).busy_share == 0
    assert simulate([[], [calls("none", 0)]], ONE).seconds == 0


STEPS = st.one_of(
    st.builds(job, st.just(""), st.integers(1, 9)),
    st.builds(calls, st.just(""), st.integers(0, 20), width=st.integers(1, 5)),
    st.builds(DriverWork, st.integers(0, 3)),
)


def tell_apart(chain: list[Step], i: int) -> list[Step]:
    return [step if isinstance(step, DriverWork) else replace(step, key=f"{i} {n}") for n, step in enumerate(chain)]


@given(st.lists(st.lists(STEPS, max_size=4), max_size=5), st.integers(1, 4), st.integers(1, 5))
def test_no_course_is_shorter_than_its_longest_run_or_longer_than_all_runs_in_a_row(
    chains: list[list[Step]], n_workers: int, n_at_once: int
) -> None:
    chains = [tell_apart(chain, i) for i, chain in enumerate(chains)]
    limits = {"m": Limits(max_concurrency=5)}
    course = simulate(chains, Cluster(n_workers=n_workers, n_at_once=n_at_once, limits=limits))
    lengths = [measure_chain(chain) for chain in chains]
    assert max(lengths, default=0) - 1e-6 <= course.seconds <= sum(lengths) + 1e-6
    worked = sum(step.seconds for chain in chains for step in chain if isinstance(step, StudentJob))
    assert course.busy_seconds == pytest.approx(worked)
    assert worked <= course.seconds * n_workers + 1e-6
