"""Answers that are lists of texts."""

import json

import pytest
from pydantic import BaseModel, ConfigDict, Field

from pada_agent.core.chat import ChatReply
from pada_agent.core.records import Usage
from pada_agent.prompts.extraction import find_texts
from pada_agent.prompts.numbering import Numbered
from pada_agent.prompts.structured_call import Shown, StructuredReply, structured_call
from tests.fakes import ScriptedModel


class Row(BaseModel):
    """What the tests ask for."""

    model_config = ConfigDict(extra="ignore", coerce_numbers_to_str=True)

    row: int = Field(description="number of the row")
    question: str = Field(min_length=1, description="a new question.")


def ask(*replies: str | ChatReply) -> tuple[StructuredReply[Row], ScriptedModel]:
    model = ScriptedModel(list(replies))
    shown = [Shown("Write 2.", ({"row": 1, "question": "Why?"}, {"row": 2, "question": 'Is it "on"?'}))]
    reply = structured_call(model, "More.", Row, numbered=Numbered("row", (3, 4)), wrap="texts", shown=shown)
    model.assert_script_over()
    return reply, model


def rows_of(reply: StructuredReply[Row]) -> list[tuple[int, str]]:
    return [(item.row, item.question) for item in reply.items]


def test_texts_get_the_numbers_in_order_and_the_form_says_what_they_are() -> None:
    reply, model = ask('["Who?", "When?"]')
    assert rows_of(reply) == [(3, "Who?"), (4, "When?")] and not reply.problems
    (request,) = model.requests
    assert json.loads(request.messages[1].content) == ["Why?", 'Is it "on"?']
    assert request.messages[2].content == (
        "More.\n\nAnswer with a JSON array with exactly 2 strings and nothing else, each string in this form:\n"
        '[\n"<a new question>"\n]'
    )
    assert request.json_schema == {
        "type": "array",
        "items": {"type": "string", "minLength": 1},
        "minItems": 2,
        "maxItems": 2,
    }


@pytest.mark.parametrize(
    "answer",
    [
        '{"items": ["Who?", "When?"]}',
        'Here they are:\n```json\n["Who?", "When?"]\n```',
        '["<a new question>"]\nFilled in:\n["Who?", "When?"]',
        '["Who?", "When?", "Where?"]',
        "['Who?', 'When?',]",
        '"[\\"Who?\\", \\"When?\\"]"',
        '<think>["Nobody asks this"]</think>["Who?", "When?"]',
        '[\\"Who?\\", \\"When?\\"]',
        '<analysis>["Who?", "When?"]</analysis>',
        '[{"row": 3, "question": "Who?"}, {"row": 4, "question": "When?"}]',
        '[{"row": 1, "question": "Who?"}, {"row": 2, "question": "When?"}]',
        '{"questions": [{"question": "Who?"}, {"question": "When?"}]}',
    ],
)
def test_they_are_read_in_every_evident_shape_and_so_are_items(answer: str) -> None:
    assert rows_of(ask(answer)[0]) == [(3, "Who?"), (4, "When?")]


def test_too_few_are_told_and_what_is_cut_off_is_left_out() -> None:
    few, _ = ask('["Who?"]')
    assert rows_of(few) == [(3, "Who?")] and few.problems == ("1 good items where 2 were asked for",)
    cut, _ = ask(ChatReply(text='["Who?", "When is', usage=Usage(n_calls=1), truncated=True))
    assert rows_of(cut) == [(3, "Who?")] and "cut off" in cut.problems[0]


@pytest.mark.parametrize(
    "useless", ["I cannot do that.", "[1, 2]", '["", " "]', '["<a new question>"]', "[]", '["a", {"b": 1}]']
)
def test_what_has_no_texts_is_asked_again(useless: str) -> None:
    reply, model = ask(useless, '["Who?", "When?"]')
    assert rows_of(reply) == [(3, "Who?"), (4, "When?")]
    assert model.prompts[1].startswith("That answer cannot be used")


@pytest.mark.parametrize("hostile", ["[" * 5000, '["' * 5000, "[[[" + '"a",' * 9000, "{}" * 9000, "\x00", ""])
def test_hostile_answers_are_no_texts(hostile: str) -> None:
    assert all(isinstance(text, str) and text.strip() for text in find_texts(hostile))
