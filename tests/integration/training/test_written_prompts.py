"""Prompts of the chat template that an export writes, rendered by plain transformers without any settings."""

from typing import Any

import pytest

from pada_agent.core.jobs import ChatSpec
from pada_agent.core.records import Example, Turn
from pada_agent.training.encoding import ChatEncoder
from pada_agent.training.export.written_prompts import describe_other_prompts
from tests.chat_templates import AS_EVER, LED, QWEN3_THINKING, Family, make_student_tokenizer
from tests.tokenizers_in_memory import PLAIN, make_tokenizer

ROW = Example(id="r1", prompt="Is it <open>?", answer="yes")
LATER = ROW.model_copy(
    update={
        "id": "r2",
        "history": (Turn(role="user", content="Hi"), Turn(role="assistant", content="Hello")),
    }
)
WITH_SYSTEM = ROW.model_copy(update={"id": "r3", "system": "Be kind."})
WITHOUT_SYSTEM = ROW.model_copy(update={"id": "r4", "system": ""})
PROMPT = "assistant\n{% endif %}"
OPENS = PLAIN.replace(PROMPT, "assistant\n<think>\n{% endif %}")
EMPTY_THOUGHT = PLAIN.replace(
    PROMPT,
    "assistant\n{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}",
)
DATED = "{{ strftime_now('%d %B') }}{% if date_string is defined %} {{ date_string }}{% endif %}\n" + PLAIN
DEFAULT_SYSTEM = "{% if messages[0].role != 'system' %}<|start|>system\nYou help.<|end|>\n{% endif %}" + PLAIN
NO_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + PLAIN

CHANGED = {
    "a thought that is closed": (OPENS, {}),
    "an empty thought": (EMPTY_THOUGHT, {"arguments": {"enable_thinking": False}}),
    "a variable": ("{{ tone | default('kind') }}\n" + PLAIN, {"arguments": {"tone": "'dry' {% and %} \\ é"}}),
    "a variable in place of a special token": (
        PLAIN.replace("<|end|>", "{{ eos_token }}"),
        {"arguments": {"eos_token": "!"}},
    ),
    "no default system turn": (DEFAULT_SYSTEM, {"system": ""}),
    "a system turn": (DEFAULT_SYSTEM, {"system": "Be 'short'.\n{{ x }}"}),
    "the date": (DATED, {}),
    "all at once": (DATED + DEFAULT_SYSTEM + OPENS, {"system": "Short.", "arguments": {"date_string": "1 May"}}),
}
"""Templates and settings with which plain transformers renders other prompts than the run."""
UNCHANGED = {
    "plain": (PLAIN, {}),
    "plain, no system turn": (PLAIN, {"system": ""}),
    "no system role": (NO_SYSTEM, {}),
    "no system role, no system turn": (NO_SYSTEM, {"system": ""}),
    "an open thought": (OPENS, {"thoughts": "open"}),
    "a variable that is not read": (PLAIN, {"arguments": {"enable_thinking": False, "not-a-name": 1}}),
    "a default system turn": (DEFAULT_SYSTEM, {}),
}


def encode(template: str, settings: dict[str, Any]) -> ChatEncoder:
    return ChatEncoder(make_tokenizer(), chat=ChatSpec(template=template, **settings))


@pytest.mark.parametrize(("template", "settings"), CHANGED.values(), ids=CHANGED)
def test_the_written_template_renders_the_prompts_of_the_run(template: str, settings: dict[str, Any]) -> None:
    encoder = encode(template, settings)
    written = make_tokenizer(encoder.fixed_template)
    assert describe_other_prompts(written, encoder, [ROW, LATER, WITH_SYSTEM]) == ""
    assert describe_other_prompts(make_tokenizer(template), encoder, [ROW])


@pytest.mark.parametrize(("template", "settings"), UNCHANGED.values(), ids=UNCHANGED)
def test_a_template_that_needs_no_settings_is_written_as_it_is(template: str, settings: dict[str, Any]) -> None:
    encoder = encode(template, settings)
    assert encoder.fixed_template == template
    rows = [ROW, LATER, WITHOUT_SYSTEM, *([] if template == NO_SYSTEM else [WITH_SYSTEM])]
    assert describe_other_prompts(make_tokenizer(template), encoder, rows) == ""


@pytest.mark.parametrize("family", [*AS_EVER.values(), *LED.values()], ids=[*AS_EVER, *LED])
def test_public_students_keep_their_templates(family: Family) -> None:
    tokenizer = make_student_tokenizer(family)
    encoder = ChatEncoder(tokenizer)
    assert encoder.fixed_template == family.template
    assert describe_other_prompts(tokenizer, encoder, [ROW, LATER]) == ""


def test_a_thought_is_closed_as_in_the_templates_own_conversations() -> None:
    tokenizer = make_student_tokenizer(QWEN3_THINKING)
    encoder = ChatEncoder(tokenizer)
    tokenizer.chat_template = encoder.fixed_template
    assert describe_other_prompts(tokenizer, encoder, [ROW, LATER]) == ""
    turns = [{"role": "user", "content": "Hi"}]
    assert tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False).endswith(
        "<|im_start|>assistant\n<think>\n\n</think>\n\n"
    )


def test_of_several_templates_the_one_of_the_run_is_written() -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = {"default": PLAIN, "rag": OPENS}
    assert ChatEncoder(tokenizer).fixed_template == PLAIN
    assert ChatEncoder(tokenizer, chat=ChatSpec(template="rag", thoughts="open")).fixed_template == OPENS


def test_a_prompt_that_differs_is_named_with_both_texts() -> None:
    """A row that wants no system turn, although the settings have one."""
    encoder = encode(PLAIN, {"system": "Short."})
    found = describe_other_prompts(make_tokenizer(encoder.fixed_template), encoder, [ROW, WITHOUT_SYSTEM])
    assert found == (
        "The model's chat template renders 1 of 2 prompts differently from the run: in row 'r4' it writes"
        r" 'system\nShort.<|end|>\n<|start|>user\nIs it <open>?<|end|>\n<|st' where the run has"
        r" 'user\nIs it <open>?<|end|>\n<|start|>assistant\n'. Send the run's prompts as text, without the template: the student"
        " was trained on them."
    )
