"""How long the texts of an answer have to be."""

import pytest
from pydantic import BaseModel, ValidationError

from pada_agent.agents.pattern_analysis.pattern_categorization import PatternItem
from pada_agent.agents.quality_control.rating import rating_item
from pada_agent.prompts.schema import json_schema
from pada_agent.prompts.text_lengths import at_least, measure


class Said(BaseModel):
    long: str = at_least(10, "a sentence")
    short: str = at_least(2, "a name")


@pytest.mark.parametrize(
    ("text", "length"),
    [("clear", 5), (" clear \n", 5), ("正确", 6), ("환불", 6), ("すき", 6), ("ﾊｲ", 2), ("", 0), (" ", 0)],
)
def test_a_chinese_character_counts_as_several_letters(text: str, length: int) -> None:
    assert measure(text) == length


@pytest.mark.parametrize(("long", "short"), [("ten letters", "OK"), ("把退款当成收费", "款"), ("환불과 요금", "돈")])
def test_a_short_text_that_says_something_is_accepted(long: str, short: str) -> None:
    assert Said.model_validate({"long": long, "short": short}).long == long


@pytest.mark.parametrize(
    ("long", "short"), [("letters", "OK"), ("退款", "款"), ("ten letters", "x"), ("ten letters", "  ")]
)
def test_a_text_that_says_nothing_is_refused(long: str, short: str) -> None:
    with pytest.raises(ValidationError, match=r"a text of at least (?:10|2) characters is expected"):
        Said.model_validate({"long": long, "short": short})


def test_what_is_asked_for_is_what_providers_are_told() -> None:
    asked = json_schema(Said, array=False)
    assert {name: field["minLength"] for name, field in asked["properties"].items()} == {"long": 10, "short": 2}
    assert asked["required"] == ["long", "short"]


def test_a_judge_and_an_analyst_may_answer_in_chinese() -> None:
    rating = {"sample": 1, "reason": "正确", "utility": 8, "relevance": 9}
    assert rating_item(with_adherence=False).model_validate(rating).reason == "正确"
    assert (
        PatternItem.model_validate({"category_name": "退款", "error_pattern": "把退款当成收费"}).category_name == "退款"
    )
