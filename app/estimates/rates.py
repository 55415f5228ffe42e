"""How long a student job, an LLM call and the driver take: measured in earlier runs, or assumed."""

from typing import get_args

from pada_agent.core.chat import Role
from pada_agent.core.records import Record

TRAINED_TOKENS = 24_000.0
WRITTEN_TOKENS = 12_000.0
"""Tokens per second of a 1B student on an H100, trained and written, both from a first repetition (docs/benchmarks.md, G1 and G2)."""
FORWARD_SHARE = 1 / 3
"""A training step costs about three forward passes."""
ASSUMED = "a 1B student on an H100; a CPU is far slower: measure with --from, or give --tokens-per-second"
ANSWER_TOKENS = 32
"""Length of an answer that the student writes, unless `student.max_new_tokens` is smaller."""
LOAD_SECONDS = 30.0
CALL_SECONDS = 6.0
ATTEMPTS = 2.0


class Rates(Record):
    """Seconds on one GPU, and how often rows are written until they are accepted."""

    train_row_seconds: float
    """To train on one row once."""
    predict_row_seconds: float
    """To answer one row."""
    load_seconds: float
    """For a worker to load the student."""
    call_seconds: dict[Role, float]
    """Of one LLM call, without waiting for its turn."""
    attempts: float
    """How often each row is written, on average."""
    start_seconds: float = 0.0
    """The driver's own work at the beginning of a run."""
    iteration_seconds: float = 0.0
    """The driver's own work in an iteration, such as embedding."""
    source: str
    """Where the figures come from, in words."""


def assume_rates(
    *,
    row_tokens: int,
    is_choice: bool,
    max_new_tokens: int | None,
    tokens_per_second: float | None,
    call_seconds: float | None,
) -> Rates:
    """Rates of a student that nobody has measured.

    Args:
        row_tokens: tokens per row.
        is_choice: whether the student chooses among options, which needs no writing.
        tokens_per_second: tokens that one GPU trains per second; None assumes what was measured for a 1B student.
        call_seconds: seconds per LLM call.
    """
    speed = tokens_per_second or TRAINED_TOKENS
    written = speed * WRITTEN_TOKENS / TRAINED_TOKENS
    n_written = 0 if is_choice else min(ANSWER_TOKENS, max_new_tokens or ANSWER_TOKENS)
    source = "as given" if tokens_per_second else ASSUMED
    return Rates(
        train_row_seconds=row_tokens / speed,
        predict_row_seconds=FORWARD_SHARE * row_tokens / speed + n_written / written,
        load_seconds=LOAD_SECONDS,
        call_seconds=dict.fromkeys(get_args(Role), CALL_SECONDS if call_seconds is None else call_seconds),
        attempts=ATTEMPTS,
        source=f"assumed, with {speed:,.0f} tokens trained per second ({source}), half as many written, and {row_tokens} tokens per row",
    )


def describe_rates(rates: Rates) -> str:
    """The figures in a sentence or two."""
    calls = ", ".join(f"{seconds:.2g} s ({role})" for role, seconds in rates.call_seconds.items())
    return (
        f"Figures: {rates.source}. One GPU trains on a row in {rates.train_row_seconds:.2g} s and answers one in"
        f" {rates.predict_row_seconds:.2g} s; a worker loads the student in {rates.load_seconds:.2g} s. An LLM call takes {calls}, and each row"
        f" is written {rates.attempts:.2g} times. The driver works {rates.start_seconds:.2g} s for a run and {rates.iteration_seconds:.2g} s for"
        " an iteration."
    )
