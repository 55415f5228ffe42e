"""Which of several lists in an answer is the answer."""

from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from pada_agent.core.errors import StructuredOutputError
from pada_agent.prompts.numbering import Numbered, number_from_one
from pada_agent.prompts.structured_call import structured_call
from tests.fakes import ScriptedModel


class Row(BaseModel):
    model_config = ConfigDict(extra="ignore")

    row: int
    q: str


DRAFTS = 'First: [{"row": 1, "q": "draft"}, {"row": 2, "q": "draft"}], too alike. '
FINAL = '[{"row": 1, "q": "one"}, {"row": 2, "q": "two"}]'
LINES = '{"row": 1, "q": "one"}\n{"row": 2, "q": "two"}'


def read(*answers: str, numbered: Numbered | None = None, **options: Any) -> list[str]:
    model = ScriptedModel(list(answers))
    numbered = numbered or number_from_one("row", 2)
    found = structured_call(model, "Write.", Row, numbered=numbered, max_reasks=len(answers) - 1, **options)
    model.assert_script_over()
    return [f"{item.row} {item.q}" for item in found.items]


@pytest.mark.parametrize(
    "answer",
    [
        f"<think>{DRAFTS}</think>\n{FINAL}",
        f"<think>\n\n</think>\n{FINAL}",
        f"{DRAFTS}\n</think>\n\n{FINAL}",
        f"{DRAFTS}\n</think>\n\n```json\n{FINAL}\n```",
        f"[THINK]{DRAFTS}[/THINK]{FINAL}",
        f"<reasoning>{DRAFTS}</reasoning>{FINAL}",
        f"<scratchpad>{DRAFTS}</scratchpad>{FINAL}",
        f"<|channel|>analysis<|message|>{DRAFTS}<|end|><|start|>assistant<|channel|>final<|message|>{FINAL}",
        f"analysis{DRAFTS}assistantfinal{FINAL}",
        f"Thinking: {DRAFTS}\n\nAnswer:\n{FINAL}",
        f"{DRAFTS}\n\nRevised version:\n```json\n{FINAL}\n```",
        f"{DRAFTS}\n\nRevised version, a line each:\n{LINES}",
        f'Maybe {{"row": 1, "q": "draft"}}. Better:\n{FINAL}',
        f'{FINAL}\nThe form was [{{"row": "<whole number>", "q": "<text>"}}], as in [1].',
        f'{FINAL}\nFor row 1 I first had {{"row": 1, "q": "another"}}.',
        f'{DRAFTS}{DRAFTS}{{"rows": {FINAL}}}',
        '[{"row": 1, "q": "one"}]\nand\n[{"row": 2, "q": "two"}]',
        f'[{{"row": 1, "q": "draft"}}]\n[{{"row": 2, "q": "draft"}}]\nNo:\n{FINAL}',
        LINES,
        f'{{"row": 1, "q": "draft"}}\n{{"row": 2, "q": "draft"}}\nAgain:\n{LINES}',
    ],
)
def test_drafts_and_remarks_are_no_rows(answer: str) -> None:
    assert read(answer) == ["1 one", "2 two"]


@pytest.mark.parametrize(
    ("answer", "rows"),
    [
        (f'{DRAFTS}Now: [{{"row": 1, "q": "one"}}, {{"row": 2, "q": "tw', ["1 one"]),
        (f'{DRAFTS}Only this one is good: [{{"row": 2, "q": "two"}}]', ["2 two"]),
        ('<think>x</think>[{"row": 1, "q": "What does </think> mean?"}, {"row": 2, "q": "<think>"}]',
         ["1 What does </think> mean?", "2 <think>"]),
    ],
)  # fmt: skip
def test_the_last_version_counts_also_when_it_is_shorter(answer: str, rows: list[str]) -> None:
    assert read(answer) == rows


def test_a_correction_of_one_row_does_not_cost_the_others() -> None:
    five = "".join(f'{{"row": {n}, "q": "good"}},' for n in range(1, 6))
    asked = number_from_one("row", 5)
    assert len(read(f'[{five}]\nRow 3 again: [{{"row": 3, "q": "better"}}]', numbered=asked)) == 5


def test_a_thought_that_was_cut_off_is_asked_for_again() -> None:
    assert read(f"<think>{DRAFTS} Hmm, let me", FINAL) == ["1 one", "2 two"]
    with pytest.raises(StructuredOutputError, match="thoughts and no answer"):
        read(f"<think>{DRAFTS} Hmm, let me")


@pytest.mark.parametrize(
    ("numbers", "rows"),
    [
        ([0, 1], ["1 a", "2 b"]),
        ([6, 7], ["1 a", "2 b"]),
        (['"row 2"', '"row 1"'], ["1 b", "2 a"]),
        ([2, 9], ["2 a"]),
        ([2, 2, 1], ["1 c", "2 a"]),
    ],
)
def test_items_come_under_the_numbers_they_are_about(numbers: list[object], rows: list[str]) -> None:
    listed = ", ".join(f'{{"row": {n}, "q": "{q}"}}' for n, q in zip(numbers, "abc", strict=False))
    assert read(f"[{listed}]") == rows


def test_an_item_that_is_good_for_nothing_else_still_shows_how_the_model_counts() -> None:
    answer = '[{"row": 0}, {"row": 1, "q": "second"}, {"row": 2, "q": "third"}]'
    assert read(answer, numbered=number_from_one("row", 3)) == ["2 second", "3 third"]


def test_numbers_that_cannot_be_aligned_are_asked_for_again_by_name() -> None:
    model = ScriptedModel(['[{"row": 12, "q": "x"}]', FINAL])
    structured_call(model, "Write.", Row, numbered=number_from_one("row", 2))
    assert "item 1: row is 12; expected each of 1, 2 once" in model.prompts[1]


def test_of_two_loose_objects_where_one_was_asked_for_the_last_counts() -> None:
    model = ScriptedModel(['Maybe {"row": 1, "q": "a"}. No: {"row": 1, "q": "b"}'])
    assert structured_call(model, "Write.", Row, wrap="object").items[0].q == "b"
