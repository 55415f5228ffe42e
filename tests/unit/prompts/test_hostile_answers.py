"""Two hundred ways to spoil an answer (PYTEST_HOSTILE_ANSWERS=1000 tries a thousand): each is read, or a typed failure, in a moment; what is read can be stored."""

import json
import os
import time
from collections.abc import Callable, Iterator
from random import Random
from typing import Any, NamedTuple

import pytest
from pydantic import BaseModel, ConfigDict, Field

from pada_agent.core.errors import StructuredOutputError
from pada_agent.prompts.numbering import number_from_one
from pada_agent.prompts.structured_call import structured_call
from tests.fakes import ScriptedModel

SECONDS = 3.0
"""Of this thread's own time, for the three answers that a call reads: one second each."""
N_MUTATIONS = int(os.environ.get("PYTEST_HOSTILE_ANSWERS", "200"))


class Row(BaseModel):
    """What is asked for."""

    model_config = ConfigDict(extra="ignore")

    row: int = Field(description="number of the row")
    question: str = Field(min_length=1, description="the question")
    rating: int = Field(default=5, ge=1, le=10, description="a score")
    tags: list[str] = Field(default_factory=list, description="a keyword")


GOOD: list[dict[str, Any]] = [
    {"row": n, "question": f"Which {word} is meant?", "rating": n + 5, "tags": [word]}
    for n, word in enumerate(("plum", "saw", "fox"), start=1)
]
TEXT = json.dumps(GOOD)

Mutation = Callable[[Random], str]


def change(value: Any) -> Mutation:
    """One field of one row is something else."""

    def mutate(rng: Random) -> str:
        rows = json.loads(TEXT)
        rng.choice(rows)[rng.choice(["row", "question", "rating", "tags"])] = value
        return json.dumps(rows)

    return mutate


def insert(piece: str) -> Mutation:
    """Something stands in the middle of it."""

    def mutate(rng: Random) -> str:
        at = rng.randrange(len(TEXT))
        return TEXT[:at] + piece + TEXT[at:]

    return mutate


def number(numbers: list[Any]) -> str:
    return json.dumps([{**row, "row": n} for row, n in zip(GOOD, numbers, strict=True)])


def nest(depth: int, opening: str = "[", closing: str = "]") -> str:
    return opening * depth + TEXT + closing * depth


def wrap_as_text(times: int) -> str:
    text = TEXT
    for _ in range(times):
        text = json.dumps(text)
    return text


def shuffle(rng: Random) -> str:
    return "".join(rng.sample(TEXT, len(TEXT)))


def mask(rng: Random) -> str:
    return "".join(c if rng.random() > 0.1 else rng.choice("{}[]\",:'\\\0") for c in TEXT)


TABLE = "| row | question | rating |\n|---|---|---|\n" + "".join(
    f"| {r['row']} | {r['question']} | 7 |\n" for r in GOOD
)
HTML = "<table>" + "".join(f"<tr><td>{r['row']}</td><td>{r['question']}</td></tr>" for r in GOOD) + "</table>"

WHOLE: list[str] = [
    "",
    " \n\t",
    "\0",
    "\ud800",
    "\ufeff" + TEXT,
    "I am sorry, but I cannot help with that.",
    "null",
    "true",
    "[]",
    "{}",
    "[[]]",
    "[{}]",
    "NaN",
    "1e999999",
    "-" * 20_000,
    "9" * 20_000,
    "[" * 20_000,
    "{" * 20_000,
    '{"a":' * 5_000,
    '[{"row": 1, "question": "' * 500,
    "]" * 20_000,
    '"' * 20_000,
    "'" * 20_000,
    "\\" * 20_000,
    "<think>" * 4_000,
    "<think>" * 4_000 + TEXT,
    TEXT + "</think>" * 4_000,
    "[/*" * 6_000,
    "//" * 10_000 + TEXT,
    '{"a"' * 4_000 + '":@',
    "```json\n" * 3_000 + TEXT,
    TABLE,
    TABLE * 200,
    HTML,
    HTML * 200,
    f"<html><body><pre>{TEXT}</pre></body></html>",
    TEXT.replace('"', "&quot;"),
    TEXT.replace('"', "'"),
    TEXT.replace('"', "“"),
    TEXT.replace(",", ",,"),
    TEXT.replace(":", "="),
    TEXT.replace("}", ""),
    TEXT.replace("]", ""),
    TEXT.replace("{", "("),
    TEXT.upper(),
    TEXT[::-1],
    TEXT * 50,
    TEXT + TEXT[:-30],
    wrap_as_text(1),
    wrap_as_text(2),
    wrap_as_text(5),
    json.dumps({"items": TEXT}),
    json.dumps([json.dumps(row) for row in GOOD]),
    json.dumps({"rows": {str(row["row"]): row for row in GOOD}}),
    nest(1),
    nest(60),
    nest(900),
    nest(5_000),
    nest(300, '{"x":', "}"),
    nest(3_000, '{"x":', "}"),
    number([0, 1, 2]),
    number([1, 1, 1]),
    number([7, 8, 9]),
    number([-1, -2, -3]),
    number([1.0, 2.0, 3.0]),
    number(["1", "two", "3."]),
    number(["row 1", "row 2", "row 3"]),
    number([10**30, 2, 3]),
    number([None, None, None]),
    number([[1], [2], [3]]),
    number([True, False, 2]),
    json.dumps(GOOD * 1_000),
    json.dumps([{**GOOD[0], **{f"key {n}": n for n in range(3_000)}}]),
    json.dumps([{**GOOD[0], "question": "x" * 30_000}]),
    TEXT.replace("plum", "\\ud83d"),
    TEXT.replace("plum", "\\ud83d\\ude00"),
    TEXT.replace("plum", "\\u0000"),
    TEXT.replace("plum", "\ud83d"),
    TEXT.replace("plum", "\0"),
    TEXT.replace("plum", "\u2028\u0085\x1c"),
    TEXT.replace("plum", "\u202e<script>alert(1)</script>\x1b]0;title\x07"),
]

CHANGES: list[Mutation] = [
    *map(change, (None, True, [], {}, "", " ", "\0", "\ud800", 10**400, -(10**30), 1e308, float("nan"), float("-inf"))),
    *map(change, ([[[]]], {"a": {"b": {}}}, ["x"] * 5_000, "9" * 5_000, "1e999999999", "½", "٣", TEXT, TABLE, HTML)),
    *map(insert, ("\0", "\ud800", "\\ud800", "[", "]", "{", "}", '"', "\\", ",", "<think>", "</think>", "```", "NaN")),
    *map(insert, ("\n\n", "/*", "*/", "//", "1e999999", "9" * 5_000, "[" * 3_000, "<|im_end|>", "\u2028", "\\u00", "...")),
    lambda rng: TEXT[: rng.randrange(1, len(TEXT))],
    lambda rng: TEXT[rng.randrange(1, len(TEXT)) :],
    shuffle,
    mask,
]  # fmt: skip


def mutations() -> Iterator[str]:
    yield from WHOLE
    rng = Random(13)
    for n in range(N_MUTATIONS - len(WHOLE)):
        yield CHANGES[n % len(CHANGES)](rng)


class Outcome(NamedTuple):
    n_items: int
    seconds: float
    """Of the processor."""


def read(answer: str) -> Outcome:
    """The model gives the same answer whenever it is asked."""
    started = time.thread_time()
    try:
        reply = structured_call(
            ScriptedModel(lambda _: answer), "Write.", Row, numbered=number_from_one("row", 3), max_output_tokens=4096
        )
    except StructuredOutputError as exc:
        str(exc).encode("utf-8")
        return Outcome(0, time.thread_time() - started)
    for item in reply.items:
        assert 1 <= item.row <= 3 and item.question
        json.loads(item.model_dump_json().encode("utf-8"))
    assert len({item.row for item in reply.items}) == len(reply.items)
    "\n".join(reply.problems).encode("utf-8")
    return Outcome(len(reply.items), time.thread_time() - started)


@pytest.mark.parametrize("answer", list(mutations()), ids=range(N_MUTATIONS))
def test_a_spoilt_answer_is_read_or_refused_in_a_moment(answer: str) -> None:
    assert read(answer).seconds < SECONDS


def test_what_was_asked_for_is_read_and_most_damage_costs_no_row() -> None:
    assert read(TEXT).n_items == 3
    assert sum(read(answer).n_items > 0 for answer in mutations()) > N_MUTATIONS / 2
