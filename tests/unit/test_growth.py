"""What models and servers wrote is read in time that grows with its length, not with its square."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from pada_agent.agents.guards.leak_guard import split_passages
from pada_agent.agents.pattern_analysis.strategy_drafting import cut_samples
from pada_agent.app.adapters.llm.redaction import Redaction
from pada_agent.app.adapters.llm.waiting import read_wait_in_words
from pada_agent.core.thoughts import strip_thoughts
from pada_agent.evaluation.repeats import rouge_l
from pada_agent.evaluation.verifiers.arithmetic import check_calculations
from pada_agent.evaluation.verifiers.number import find_answer, find_numbers, parse_number
from pada_agent.evaluation.verifiers.option_label import find_closed_label, find_label
from pada_agent.evaluation.verifiers.python_code import complete_program
from pada_agent.evaluation.verifiers.span import find_span, token_f1
from pada_agent.evaluation.verifiers.sql_text import extract_sql, is_ordered
from pada_agent.prompts.extraction import find_listings

N_CHARACTERS = 4_000
GROWTH = 4
QUICK_SECONDS = 0.4
"""What takes less is not compared: other things than its length count more."""
SLOWEST = 3 * GROWTH
"""Times as long, for `GROWTH` times the text: four if it grows with its length, sixteen with its square."""

LABELS = ("apple pie", "fruit", "tool")
READERS: dict[str, Callable[[str], Any]] = {
    "listings": find_listings,
    "thoughts": strip_thoughts,
    "program": lambda text: complete_program("def f(x):\n", f"```python\ndef f(x):\n{text}", "f"),
    "body": lambda text: complete_program("def f(x):\n", text, "f"),
    "answer": find_answer,
    "numbers": find_numbers,
    "number": parse_number,
    "label": lambda text: find_label(text, "ABC"),
    "closed label": lambda text: find_closed_label(text, LABELS),
    "span": lambda text: (token_f1(text, ["a b"]), find_span(text, "the a b c")),
    "sql": lambda text: (extract_sql(text), is_ordered(text)),
    "calculations": check_calculations,
    "wait": read_wait_in_words,
    "redaction": Redaction(("sk-abcdefghijklmnop",)).mask,
    "strategy": lambda text: (cut_samples(text), split_passages(text)),
    "likeness": lambda text: rouge_l(text, text[::-1]),
}
UNITS = (
    *("a", "1", " ", "\n", "a ", "1 ", "a b\n", "foo bar\n", "if x:\n", "  x\n", "-- a\n", "x(", "(", ")", "[", "{", '"', "'", "“", "\\"),
    *("\\ ", "\\frac{", "\\boxed{", "{a", '"a":', '{"a":', "/*", "//", "1,", "1.", "1/", "1,111", "1+", "1=1 ", "<<", "<<1=1>>", "e9", "$"),
    *("```", "``` ", "```python ", "```\n", "<think>", "</think>", "[THINK]", "<", "SELECT ", "with a as (", "select 1;", "A ", "A.", "(A) "),
    *("not A ", "fruit ", "answer is ", "e.g. ", ". ", "é", "٫", "½", "**", "try again in 1m ", "sk-", "x-", '" + "'),
)  # fmt: skip


@pytest.mark.parametrize("reader", READERS)
def test_time_grows_with_the_text_alone(reader: str) -> None:
    slow = {}
    for unit in UNITS:
        for end in ("", "x"):
            long = measure(reader, unit, end, N_CHARACTERS * GROWTH)
            if long > QUICK_SECONDS and long > SLOWEST * (short := measure(reader, unit, end, N_CHARACTERS)):
                slow[unit + "…" + end] = (short, long)
    assert not slow


def measure(reader: str, unit: str, end: str, n_characters: int) -> float:
    """Seconds of the processor, which other work on the machine does not take part in; the best of three if it is slow."""
    text = (unit * (n_characters // len(unit) + 1))[:n_characters] + end
    taken: list[float] = []
    while not taken or (taken[-1] > QUICK_SECONDS and len(taken) < 3):
        start = time.process_time()
        READERS[reader](text)
        taken.append(time.process_time() - start)
    return min(taken)
