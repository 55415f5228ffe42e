"""What ends a row, and how its tokens are read."""

from typing import Any

import pytest

from pada_agent.core.jobs import ChatSpec, PredictJob
from pada_agent.core.records import Example, Prediction
from pada_agent.core.thoughts import strip_thoughts
from pada_agent.training.encoding import ChatEncoder
from pada_agent.training.generation.stopping import Row, Stops, encode_rows
from tests.chat_templates import LED, Family, make_student_tokenizer

ROW = Example(id="r", prompt="What color is grass?", answer="green")


def write(family: Family, text: str, *, stop: tuple[str, ...] = (), **chat: Any) -> tuple[Row, Prediction]:
    """The row after the student wrote `text` and its end of turn, token by token."""
    tokenizer = make_student_tokenizer(family)
    encoder = ChatEncoder(tokenizer, chat=ChatSpec(**chat))
    job = PredictJob(student="s", rows="rows", rows_hash="h", max_new_tokens=400, stop=stop)
    (row,) = encode_rows(encoder, [ROW], max_new_tokens=400, context_tokens=1000)
    stops = Stops(tokenizer, job, encoder.stop_token_ids)
    for token in [*tokenizer(text, add_special_tokens=False)["input_ids"], encoder.end_token_id]:
        if not row.finished:
            stops.add(row, token)
    assert row.finished
    return row, stops.read(ROW, row)


@pytest.mark.parametrize(
    ("name", "text", "response"),
    [
        ("gpt-oss", "<|channel|>final<|message|>green", "green"),
        ("Command R7B", "<|START_RESPONSE|>green", "green"),
        ("Mistral v0.3", " green", "green"),
        ("Mistral v0.3", "     return green", "    return green"),
        ("Mistral v0.3", "green", "green"),
        ("Zephyr", "\ngreen", "green"),
        ("ChatML without a generation prompt", "<|im_start|>assistant\ngreen", "green"),
        ("Qwen3", "<think>\n\n</think>\n\ngreen", "green"),
        ("Qwen3", "", ""),
    ],
)
def test_the_lead_is_no_part_of_the_answer(name: str, text: str, response: str) -> None:
    row, prediction = write(LED[name], text)
    assert prediction.response == response
    assert prediction.n_new_tokens == len(row.new) > 0 or not text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("gpt-oss", "<|channel|>analysis<|message|>red?<|end|><|start|>assistant<|channel|>final<|message|>green"),
        ("Command R7B", "<|START_THINKING|>Is it red? Answer: red.<|END_THINKING|><|START_RESPONSE|>green"),
        ("Mistral v0.3", "[THINK]Is it red? Answer: red.[/THINK]green"),
        ("Qwen3", "<think>\nIs it red?\n</think>\n\ngreen"),
    ],
)
def test_thoughts_are_never_part_of_the_answer_although_their_marks_are_control_tokens(name: str, text: str) -> None:
    _, prediction = write(LED[name], text)
    assert strip_thoughts(prediction.response) == "green"
    _, cut_off = write(LED[name], text[: text.index("red?")])
    assert strip_thoughts(cut_off.response) == ""


def test_a_stop_string_inside_the_lead_ends_nothing() -> None:
    row, prediction = write(LED["Qwen3"], "<think>\n\n</think>\n\ngreen\n\nand more", stop=("\n\n",))
    assert (prediction.response, prediction.truncated) == ("green", False)
    assert len(row.new) < len("<think>\n\n</think>\n\ngreen\n\nand more") - len("<think></think>")
    _, other = write(LED["Qwen3"], "green\n\nand more", stop=("\n\n",))
    assert other.response == "green"


def test_a_thought_that_the_template_opens_ends_at_its_special_mark() -> None:
    opens = LED["Mistral v0.3"].template + "{% if add_generation_prompt %}[THINK]{% endif %}"
    family = LED["Mistral v0.3"]._replace(template=opens)
    row, prediction = write(family, "Red?\nEND no[/THINK]green\nEND of it", stop=("\nEND",), thoughts="open")
    assert prediction.response == "[THINK]Red?\nEND no[/THINK]green"
    assert strip_thoughts(prediction.response) == "green"
    assert not prediction.truncated and len(row.new) < len("Red?\nEND no[/THINK]green\nEND of it")
