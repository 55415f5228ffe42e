"""How long calls and jobs have to take, whatever order a run had them in."""

from benchmarks.critical_path import Step, find_waits, schedule


def step(name: str, seconds: float, *after: str, kind: str = "llm", start: float = 0.0) -> Step:
    return Step(name, kind, name.rstrip("0123456789"), (start, start + seconds), after)


def last(steps: list[Step], **limits: int) -> float:
    return max(end for _, end in schedule(steps, limits).values())


def test_what_is_independent_runs_at_once_and_what_is_needed_is_waited_for() -> None:
    steps = [step("a", 2), step("b", 3), step("c", 1, "a", "b")]
    assert schedule(steps, {"llm": 2}) == {"a": (0, 2), "b": (0, 3), "c": (3, 4)}


def test_as_many_run_at_once_as_there_are_slots_of_their_kind() -> None:
    steps = [*(step(f"a{i}", 1) for i in range(5)), step("j", 4, kind="job")]
    assert last(steps, llm=2, job=1) == 4
    assert last(steps, llm=1, job=1) == 5


def test_the_step_with_the_most_behind_it_begins_first() -> None:
    chain = [step("short", 1), step("head", 1), step("tail", 5, "head")]
    assert last(chain, llm=1) == 7
    assert schedule(chain, {"llm": 1})["head"] == (0, 1), "one slot is enough for an order that gains something"
    assert last([step("short", 4), step("head", 1), step("tail", 5, "head")], llm=2) == 6


def test_a_stage_waits_from_when_all_that_its_first_step_needs_is_there() -> None:
    steps = [step("plan", 2), step("write1", 1, "plan", start=2.5), step("write2", 1, "plan", start=9)]
    assert find_waits(steps) == {"plan": 0.0, "write": 0.5}
