"""Items from an LLM: the form shown, drift repaired, damage bounded."""

import json
from typing import Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from pada_agent.core.chat import ChatReply
from pada_agent.core.errors import StructuredOutputError
from pada_agent.core.records import Usage
from pada_agent.prompts.numbering import number_from_one
from pada_agent.prompts.schema import json_schema, skeleton
from pada_agent.prompts.structured_call import StructuredReply, structured_call
from tests.fakes import ScriptedModel, ScriptExhausted


class Part(BaseModel):
    word: str


class Review(BaseModel):
    """What the tests ask for."""

    model_config = ConfigDict(extra="ignore")

    sample_id: int = Field(description="number of the sample")
    reason: str = Field(description="one sentence.")
    rating: int = Field(ge=1, le=10)
    verdict: Literal["keep", "drop"] = "keep"
    tags: list[str] = Field(default_factory=list, description="a keyword")
    part: Part | None = None


GOOD = {"sample_id": 1, "reason": "clear", "rating": 8}


def ask(*replies: str | ChatReply, **options: object) -> tuple[StructuredReply[Review], ScriptedModel]:
    model = ScriptedModel(list(replies))
    reply = structured_call(model, "Rate these.", Review, **options)  # type: ignore[arg-type]
    model.assert_script_over()
    return reply, model


def test_the_form_is_appended_to_the_prompt_word_for_word() -> None:
    _, model = ask(json.dumps([GOOD]), numbered=number_from_one("sample_id", 1))
    assert model.prompts == [
        """Rate these.

Answer with a JSON array with exactly 1 object and nothing else, each object in this form:
[
{
  "sample_id": "<whole number: number of the sample>",
  "reason": "<one sentence>",
  "rating": "<whole number from 1 to 10>",
  "verdict": "<one of keep, drop>",
  "tags": [
    "<a keyword>"
  ],
  "part": "<text or null>"
}
]"""
    ]


def test_the_provider_gets_a_schema_it_can_constrain_to() -> None:
    _, model = ask(json.dumps([GOOD]), numbered=number_from_one("sample_id", 3))
    schema = model.requests[0].json_schema
    assert schema is not None
    assert (schema["type"], schema["minItems"], schema["maxItems"]) == ("array", 3, 3)
    assert schema["items"]["required"] == ["sample_id", "reason", "rating", "verdict", "tags", "part"]
    assert schema["items"]["additionalProperties"] is False
    assert schema["items"]["properties"]["part"]["anyOf"][0]["properties"] == {"word": {"type": "string"}}
    assert "$ref" not in json.dumps(schema)


def test_one_object_can_be_asked_for() -> None:
    reply, model = ask(json.dumps(GOOD), wrap="object")
    assert [item.rating for item in reply.items] == [8]
    assert model.requests[0].json_schema == json_schema(Review, array=False)
    assert "one JSON object" in model.prompts[0]


def test_parameters_and_tags_reach_the_model() -> None:
    _, model = ask(
        json.dumps([GOOD]),
        temperature=0.7,
        max_output_tokens=99,
        draw="b1:2",
        tags={"agent": "judge"},
    )
    asked = model.requests[0]
    assert [m.role for m in asked.messages] == ["user"]
    assert (asked.temperature, asked.max_output_tokens, asked.draw, asked.attempt) == (0.7, 99, "b1:2", 0)
    assert asked.tags == {"agent": "judge"}


def test_harmless_drift_is_repaired() -> None:
    drifted = {"sample_id": "1", "reason": 42, "rating": "8/10", "tags": "billing", "mood": "good"}
    reply, _ = ask(json.dumps([drifted, {**GOOD, "rating": 7.6}]))
    assert [item.model_dump(include={"sample_id", "reason", "rating", "tags"}) for item in reply.items] == [
        {"sample_id": 1, "reason": "42", "rating": 8, "tags": ["billing"]},
        {"sample_id": 1, "reason": "clear", "rating": 8, "tags": []},
    ]
    assert reply.problems == ()


@pytest.mark.parametrize("said", ["Keep", " keep.", "**KEEP**", "keep: it is clear", "keep - it is clear"])
def test_a_choice_is_read_in_every_evident_spelling(said: str) -> None:
    reply, _ = ask(json.dumps([{**GOOD, "verdict": said}]))
    assert [(item.verdict, reply.problems) for item in reply.items] == [("keep", ())]


@pytest.mark.parametrize("said", ["keep or drop", "kept", "do not keep", "", 1, ["keep", "drop"]])
def test_what_is_no_evident_choice_is_refused(said: object) -> None:
    reply, _ = ask(json.dumps([{**GOOD, "verdict": said}, GOOD]))
    assert len(reply.items) == 1
    assert "verdict: Input should be 'keep' or 'drop'" in reply.problems[0]


@pytest.mark.parametrize("empty", ["null", "NaN"])
def test_null_in_a_field_that_has_a_default_is_the_default(empty: str) -> None:
    text = f'{{"sample_id": 1, "reason": "clear", "rating": 8, "verdict": {empty}, "tags": {empty}, "note": {empty}}}'
    reply, _ = ask(text, wrap="object")
    assert reply.items == (Review.model_validate(GOOD),)


def test_null_in_a_field_that_must_be_filled_in_is_refused() -> None:
    reply, _ = ask(json.dumps([{**GOOD, "reason": None}, GOOD]))
    assert len(reply.items) == 1 and "reason: Input should be a valid string" in reply.problems[0]


def test_null_among_the_entries_of_a_list_is_left_out() -> None:
    reply, _ = ask(json.dumps([{**GOOD, "tags": [None, "fees", None]}]))
    assert reply.items[0].tags == ["fees"]


class Chosen(BaseModel, extra="ignore"):
    numbers: list[int] = Field(default_factory=list, description="numbers of samples")


@pytest.mark.parametrize(
    ("said", "numbers"),
    [
        (["Sample 1", "Sample 3"], [1, 3]),
        (["#1", "sample-3"], [1, 3]),
        ("1, 3", [1, 3]),
        ("Samples 1 and 3", [1, 3]),
        ("Sample 3", [3]),
        (3, [3]),
        (["the first", 2], [2]),
        ([".5"], []),
    ],
)
def test_numbers_with_the_name_of_what_they_count_are_read_and_others_left_out(
    said: object, numbers: list[int]
) -> None:
    model = ScriptedModel([json.dumps({"numbers": said})])
    assert structured_call(model, "Choose.", Chosen, wrap="object").items == (Chosen(numbers=numbers),)


@pytest.mark.parametrize(
    "drifted",
    [
        {"Sample ID": 1, "REASON": "clear", "Rating": 8},
        {"sampleId": 1, "reason": "clear", "Rating": 8},
        {"sample_id": 1, "reason": "clear", "scores": {"rating": 8}},
        {"sample_id": 1, "Reason": "vague", "reason": "clear", "rating": 8, "before": {"rating": 2}},
    ],
)
def test_fields_are_found_under_names_in_other_case_and_inside_one_object(drifted: dict[str, object]) -> None:
    reply, _ = ask(json.dumps([drifted]), numbered=number_from_one("sample_id", 1))
    assert reply.items == (Review.model_validate(GOOD),)


class Decision(BaseModel, extra="ignore"):
    in_words: Literal["yes", "no"]
    plain: bool


@pytest.mark.parametrize("said", [True, "true", "Yes", "yes.", "Y", "`yes`", "Yes, both name it.", 1])
def test_yes_and_true_are_the_same(said: object) -> None:
    for value, meant in ((said, True), (False, False), ("No.", False)):
        answer = json.dumps({"in_words": value, "plain": value})
        (item,) = structured_call(ScriptedModel([answer]), "Decide.", Decision, wrap="object").items
        assert (item.in_words, item.plain) == ("yes" if meant else "no", meant)


@pytest.mark.parametrize("form", ["sample-{}", "Sample {}:", "#{}", "sample -{}"])
def test_a_dash_before_a_number_is_no_minus(form: str) -> None:
    said = [{**GOOD, "sample_id": form.format(n), "reason": str(n)} for n in (1, 2, 3)]
    reply, _ = ask(json.dumps(said), numbered=number_from_one("sample_id", 3))
    assert [(item.sample_id, item.reason) for item in reply.items] == [(1, "1"), (2, "2"), (3, "3")]


def test_the_good_items_of_a_damaged_answer_are_kept() -> None:
    reply, _ = ask(
        json.dumps([GOOD, {"sample_id": 2, "reason": "x", "rating": 11}]) + " [",
        numbered=number_from_one("sample_id", 2),
    )
    assert [item.sample_id for item in reply.items] == [1]
    assert any("item 2: rating" in problem for problem in reply.problems)
    assert "1 good items where 2 were asked for" in reply.problems
    assert reply.call_keys == ("call-1",)


def test_items_beyond_those_asked_for_are_cut() -> None:
    reply, _ = ask(
        json.dumps([{**GOOD, "sample_id": n} for n in range(1, 6)]), numbered=number_from_one("sample_id", 2)
    )
    assert [item.sample_id for item in reply.items] == [1, 2]


@pytest.mark.parametrize(("field", "value"), [("reason", "<one sentence>"), ("tags", ["fees", "<a keyword>"])])
def test_words_copied_from_the_form_are_refused(field: str, value: object) -> None:
    reply, _ = ask(json.dumps([{**GOOD, field: value}, GOOD]))
    assert len(reply.items) == 1
    assert f"item 1: {field} was copied from the form, not filled in" in reply.problems


def test_an_unusable_answer_is_shown_again_with_what_was_wrong() -> None:
    reply, model = ask("I would rather not.", json.dumps([GOOD]))
    again = model.requests[1]
    assert [m.role for m in again.messages] == ["user", "assistant", "user"]
    assert again.messages[1].content == "I would rather not."
    assert "no JSON object was found" in again.messages[2].content
    assert (again.attempt, reply.call_keys) == (1, ("call-1", "call-2"))


def test_an_empty_answer_makes_no_empty_turn() -> None:
    _, model = ask("  ", json.dumps([GOOD]))
    assert [m.role for m in model.requests[1].messages] == ["user"]
    assert "An earlier answer was empty." in model.prompts[1]


def test_only_the_latest_answer_is_repeated() -> None:
    _, model = ask("first", "second", json.dumps([GOOD]))
    assert [m.content for m in model.requests[2].messages if m.role == "assistant"] == ["second"]


def test_drafts_of_a_thought_in_plain_words_that_was_cut_off_are_no_items() -> None:
    draft = json.dumps([{**GOOD, "reason": "a draft"}])
    text = f"Here is my thought process: {draft}. No, better"
    cut = ChatReply(text=text, usage=Usage(), truncated=True, key="k")
    reply, model = ask(cut, json.dumps([GOOD]))
    assert [item.reason for item in reply.items] == ["clear"]
    assert "it holds thoughts and no answer" in model.prompts[1]
    whole, _ = ask(f"Here is my thought process: it is clear. {json.dumps([GOOD])}")
    assert [item.reason for item in whole.items] == ["clear"]


def test_a_cut_off_answer_says_so() -> None:
    cut = ChatReply(text=f"[{json.dumps(GOOD)}, {{", usage=Usage(), truncated=True, key="k")
    reply, _ = ask(cut, numbered=number_from_one("sample_id", 2))
    assert any("cut off at the token limit" in problem for problem in reply.problems)


@pytest.mark.parametrize("words", ["WHERE height < (SELECT height FROM hill ", "不知道。", "x", "🙂 \ud83d"])
def test_an_answer_that_goes_round_in_circles_is_not_shown_again(words: str) -> None:
    circling = f'[{{"reason": "{words * 2000}'[:5000]
    reply, model = ask(ChatReply(text=circling, usage=Usage(), truncated=True, key="k"), json.dumps([GOOD]))
    assert reply.items[0].rating == 8
    (asked_again,) = model.requests[1].messages
    assert asked_again.content.startswith("Rate these.") and words * 3 not in asked_again.content
    assert "went round in circles" in asked_again.content and "write less" in asked_again.content


def test_a_long_answer_in_many_words_is_shown_again() -> None:
    text = " ".join(f"Number {n} is followed by {n * n}, which is no circle." for n in range(100))
    _, model = ask(ChatReply(text=text, usage=Usage(), truncated=True, key="k"), json.dumps([GOOD]))
    assert [message.role for message in model.requests[1].messages] == ["user", "assistant", "user"]


@pytest.mark.parametrize(("n_tokens", "is_lost"), [(200, True), (1, False)])
def test_an_empty_answer_whose_tokens_were_counted_was_put_elsewhere(n_tokens: int, is_lost: bool) -> None:
    lost = ChatReply(text="", usage=Usage(output_tokens=n_tokens), key="k")
    with pytest.raises(StructuredOutputError) as caught:
        ask(lost, lost, lost)
    assert (f"empty although {n_tokens} tokens were written" in str(caught.value)) is is_lost


def test_asking_again_is_bounded_and_ends_in_a_typed_failure() -> None:
    model = ScriptedModel(["no", "still no", "never"], name="tiny")
    with pytest.raises(StructuredOutputError, match=r"tiny gave no usable Review in 3 answers.*never"):
        structured_call(model, "Rate.", Review, max_reasks=2)
    assert len(model.requests) == 3


def test_a_fake_whose_script_is_over_fails() -> None:
    with pytest.raises(ScriptExhausted, match="only 1 answers"):
        structured_call(ScriptedModel(["no"]), "Rate.", Review)


def test_nested_models_are_shown_in_full() -> None:
    class Row(BaseModel):
        parts: list[Part]

    assert json.loads(skeleton(Row)) == {"parts": [{"word": "<text>"}]}
