"""Chat templates with settings in them, rendered by plain transformers."""

from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pada_agent.evaluation.fixed_template import fix_template
from tests.tokenizers_in_memory import PLAIN, make_tokenizer

DAY = date(2024, 7, 26)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def render(template: str, *turns: tuple[str, str], **variables: Any) -> str:
    messages = [{"role": role, "content": content} for role, content in turns or [("user", "Hi")]]
    text: str = make_tokenizer(template).apply_chat_template(
        messages, add_generation_prompt=True, tokenize=False, **variables
    )
    return text


@given(VALUES)
def test_a_variable_has_the_value_that_it_was_given(value: Any) -> None:
    template = "{{ value | tojson }} {{ value is none }}"
    assert render(fix_template(template, {"value": value}, today=DAY)) == render(template, value=value)


@given(st.text(min_size=1))
def test_a_system_turn_is_added_to_conversations_without_one(text: str) -> None:
    fixed = fix_template(PLAIN, {}, today=DAY, system=text)
    assert render(fixed, ("user", "Hi")) == render(PLAIN, ("system", text), ("user", "Hi"))
    assert render(fixed, ("system", "Own"), ("user", "Hi")) == render(PLAIN, ("system", "Own"), ("user", "Hi"))


def test_settings_that_change_nothing_leave_the_template_as_it_is() -> None:
    assert fix_template(PLAIN + "\n", {"enable_thinking": False, "date_string": "1 May"}, today=DAY) == PLAIN + "\n"


def test_the_settings_can_be_read_in_the_template() -> None:
    template = "{% if tone is defined %}{{ tone }}{% endif %}{{ strftime_now('%Y-%m-%d') }}" + PLAIN
    assert fix_template(template, {"tone": "dry"}, today=DAY) == (
        "{% set tone = 'dry' %}\n{% if tone is defined %}{{ tone }}{% endif %}{{ '2024-07-26' }}" + PLAIN
    )


def test_a_macro_and_a_loop_read_a_variable() -> None:
    template = "{% macro show() %}{{ tone }}{% endmacro %}{% for m in messages %}{{ tone }}{{ show() }}{% endfor %}"
    assert render(fix_template(template, {"tone": "dry"}, today=DAY)) == "drydry"


@pytest.mark.parametrize(
    "template", ["\n\n{{ a }}|\n", "  {% if a %}\n  x\n  {% endif %}\n  ", "{{ a }}\r\n", "{{ a }}\n\n"]
)
def test_spaces_and_line_breaks_at_both_ends_stay(template: str) -> None:
    rendered = render(template, a=1)
    assert render(fix_template(template, {"a": 1}, today=DAY, closing=(rendered, "!"))) == rendered + "!"
    assert render(fix_template(template, {"a": 1}, today=DAY, closing=("none of it", "!"))) == rendered


def test_a_conversation_with_its_answer_gets_no_closing() -> None:
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    fixed = make_tokenizer(fix_template(PLAIN, {}, today=DAY, closing=("\n", "!")))
    assert fixed.apply_chat_template(turns, tokenize=False) == make_tokenizer(PLAIN).apply_chat_template(
        turns, tokenize=False
    )


THINKS = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant: "
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% elif messages[-1].role != 'tool' %}<think>\n"
    "{% endif %}{% endif %}"
)


def test_only_a_thought_that_is_open_is_closed() -> None:
    """Programs may close it themselves, and some templates open none after a tool's result."""
    fixed = fix_template(THINKS, {}, today=DAY, closing=("<think>\n", "</think>\n\n"))
    assert render(fixed) == render(THINKS) + "</think>\n\n"
    assert render(fixed, enable_thinking=False) == render(THINKS, enable_thinking=False)
    assert render(fixed, ("user", "Hi"), ("tool", "5")) == render(THINKS, ("user", "Hi"), ("tool", "5"))
