"""Conversations as tokens, with a byte tokenizer made in memory."""

from typing import Any

import pytest

from pada_agent.core.errors import ConfigError, DatasetError
from pada_agent.core.jobs import ChatSpec
from pada_agent.core.records import Example, Turn
from pada_agent.evaluation.chat_tokenizer import ChatTokenizer
from tests.tokenizers_in_memory import PLAIN, make_tokenizer

ROW = Example(id="r1", prompt="Is it open?", answer="yes")
NO_SYSTEM = "set student.system to null and put its text into task.instruction"
REFUSES = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" + PLAIN
DROPS = (
    "{% for m in messages if m.role != 'system' %}<|start|>{{ m.role }}\n{{ m.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)
THINKS = PLAIN.replace("assistant\n{% endif %}", "assistant\n<think>\n{% endif %}")
DEFAULT = (
    "{% if messages[0].role != 'system' %}<|start|>system\nYou are a helpful assistant.<|end|>\n{% endif %}" + PLAIN
)


def encode(template: str = PLAIN, **chat: Any) -> ChatTokenizer:
    return ChatTokenizer(make_tokenizer(), ChatSpec(template=template, **chat))


def render(chats: ChatTokenizer, row: Example = ROW) -> str:
    """Prompt and what is learned, read back."""
    text: str = make_tokenizer().decode(chats.prompt(row) + chats.learned(row))
    return text


def test_a_row_is_rendered_by_the_template_and_ends_its_turn() -> None:
    assert render(encode()) == "<|start|>user\nIs it open?<|end|>\n<|start|>assistant\nyes<|end|>"


def test_system_turn_and_earlier_turns_of_a_row_are_rendered() -> None:
    turns = (Turn(role="user", content="Hi"), Turn(role="assistant", content="Hello"))
    row = ROW.model_copy(update={"system": "Be kind.", "history": turns})
    assert render(encode(system="Be short."), row) == (
        "<|start|>system\nBe kind.<|end|>\n<|start|>user\nHi<|end|>\n<|start|>assistant\nHello<|end|>\n"
        "<|start|>user\nIs it open?<|end|>\n<|start|>assistant\nyes<|end|>"
    )


def test_the_tokenizers_own_template_is_taken_unless_settings_name_one() -> None:
    assert render(ChatTokenizer(make_tokenizer(PLAIN))).startswith("<|start|>user")
    with pytest.raises(ConfigError, match=r"no chat template: choose an instruct .* set student\.chat_template"):
        ChatTokenizer(make_tokenizer(None))


def test_several_templates_without_a_default_are_one_clear_error() -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = {"default": PLAIN, "tool_use": DROPS}
    assert render(ChatTokenizer(tokenizer)) == render(encode())
    tokenizer.chat_template = {"tool_use": PLAIN, "rag": DROPS}
    with pytest.raises(ConfigError, match="several chat templates, and none is the default"):
        ChatTokenizer(tokenizer)


def test_arguments_reach_the_template() -> None:
    template = PLAIN.replace("assistant\n", "assistant\n{% if quiet %}Quietly: {% endif %}")
    assert "Quietly" in render(encode(template, arguments={"quiet": True}))
    assert "Quietly" not in render(encode(template))


def test_a_template_that_asks_for_the_date_renders_the_same_every_day() -> None:
    chats = encode(
        "{{ strftime_now('%Y-%m-%d') }}{% if date_string is defined %} {{ date_string }}{% endif %}\n" + PLAIN
    )
    assert render(chats).startswith("2024-07-26 26 Jul 2024")


@pytest.mark.parametrize(
    ("template", "system", "message"),
    [
        (REFUSES, "Be kind.", f"takes no system turn .System role not supported.: {NO_SYSTEM}"),
        (DROPS, "Be kind.", f"leaves the system turn out: {NO_SYSTEM}"),
        (
            "{% for m in messages %}{{ m.role | nonsense }}{% endfor %}",
            None,
            "an error in line 1: No filter named 'nonsense'",
        ),
        ("{% for m in messages %}\n{{ m.content }}", None, "an error in line 2"),
        (
            "{% for m in messages %}{{ m.content[0]['text'] }}{% endfor %}",
            None,
            r"expects each turn's content in parts",
        ),
        ("{% for m in messages %}{{ m.parts[0].text }}{% endfor %}", None, r"fails .UndefinedError"),
        ("{{ messages[0].content + 1 }}", None, "fails .TypeError"),
        ("{{ 'a' * 10 ** 10 }}", None, r"template needs more than 512 MiB of memory for one row\. Correct it"),
        ("{{ raise_exception('I take nobody') }}", None, "refuses the turns user, assistant: I take nobody"),
        ("{{ messages[-1].content }}", None, r"leaves out the turn of the user .of user, assistant."),
        ("{{ messages[0].content }}", None, "leaves out the turn of the assistant"),
        ("{% for m in messages %}{{ m.content | e }}{% endfor %}", None, "of the user .*, or changes its text"),
        ("{% for m in messages %}{{ m.content | lower }}{% endfor %}", None, "of the user .*, or changes its text"),
        ("{% for m in messages %}{{ m.content | tojson }}{% endfor %}", None, "of the user .*, or changes its text"),
    ],
)
def test_a_template_that_does_not_show_every_turn_is_one_clear_error(
    template: str, system: str | None, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        encode(template, system=system).prompt(ROW)


def test_a_turn_that_only_one_row_has_is_named_with_the_row() -> None:
    chats = encode(DROPS)
    chats.prompt(ROW)
    with pytest.raises(ConfigError, match="row 'r1': the student's chat template leaves the system turn out"):
        chats.prompt(ROW.model_copy(update={"system": "Be kind."}))


def test_an_empty_system_text_asks_for_the_shortest_rendering() -> None:
    assert "helpful" in render(encode(DEFAULT))
    assert render(encode(DEFAULT, system="")).startswith("<|start|>system\n<|end|>")
    assert render(encode(REFUSES, system="")) == render(encode())


@pytest.mark.parametrize(
    ("special", "eos", "template", "end"),
    [
        (("<|start|>", "<|end|>"), "<|end|>", PLAIN, "<|end|>"),
        (("<|start|>", "<|end|>", "<|endoftext|>"), "<|endoftext|>", PLAIN, "<|end|>"),
        (("<|start|>", "<|end|>", "<|endoftext|>"), "<|endoftext|>", PLAIN + "{{ eos_token }}", "<|end|>"),
        (("<|endoftext|>",), "<|endoftext|>", "{% for m in messages %}{{ m.content }}\n{% endfor %}", "<|endoftext|>"),
    ],
    ids=[
        "the end of sequence",
        "an added token (Gemma)",
        "an added token before the end of sequence (Phi-3)",
        "no end",
    ],
)
def test_the_end_of_turn_is_what_the_template_puts_behind_an_answer(
    special: tuple[str, ...], eos: str, template: str, end: str
) -> None:
    tokenizer = make_tokenizer(special=special, eos=eos)
    assert tokenizer.all_special_tokens == [eos], "the others are only marked as special in tokenizer.json"
    chats = ChatTokenizer(tokenizer, ChatSpec(template=template))
    assert tokenizer.decode([chats.end_token_id]) == end
    assert chats.stop_token_ids == {chats.end_token_id, tokenizer.eos_token_id}


def test_an_end_that_only_the_models_generation_settings_or_no_one_calls_special_is_found() -> None:
    tokenizer = make_tokenizer(special=("<|start|>", "<|endoftext|>"), plain=("<|end|>",), eos="<|endoftext|>")
    end = tokenizer.convert_tokens_to_ids("<|end|>")
    assert ChatTokenizer(tokenizer, ChatSpec(template=PLAIN), end_token_ids=[end]).end_token_id == end
    assert ChatTokenizer(tokenizer, ChatSpec(template=PLAIN)).end_token_id == end
    y = tokenizer.convert_tokens_to_ids("y")
    chats = ChatTokenizer(tokenizer, ChatSpec(template=PLAIN.replace("<|end|>", "y")), end_token_ids=[y, end])
    assert chats.end_token_id == y
    assert chats.stop_token_ids == {y, end, tokenizer.eos_token_id}


def test_without_any_end_the_error_says_what_to_set() -> None:
    tokenizer = make_tokenizer(special=("<|start|>",), eos=None)
    with pytest.raises(ConfigError, match=r"no end of turn .* set student\.chat_template"):
        ChatTokenizer(tokenizer, ChatSpec(template="{% for m in messages %}{{ m.content }}\n{% endfor %}"))


def test_a_thought_that_the_template_opens_is_closed_at_once() -> None:
    closed = "<|start|>user\nIs it open?<|end|>\n<|start|>assistant\n<think>\n\n</think>\n\nyes<|end|>"
    assert render(encode(THINKS)) == closed
    assert encode(THINKS).opening(ROW) == ""
    bare = THINKS.replace("<think>\n{% endif %}", "<think>{% endif %}")
    assert render(encode(bare)) == closed.replace("\n\n</think>", "</think>")


def test_a_thought_that_a_row_only_quotes_is_no_thought() -> None:
    row = ROW.model_copy(update={"prompt": "What is <think>?"})
    assert render(encode(), row).endswith("assistant\nyes<|end|>")


def test_an_open_thought_is_ended_by_the_answer_that_is_learned() -> None:
    chats = encode(THINKS, thoughts="open")
    assert chats.opening(ROW) == "<think>\n"
    with pytest.raises(DatasetError, match=r"row 'r1': its answer has no thought"):
        chats.learned(ROW)
    for answer in ("Sunday.\n</think>\n\nyes", "<think>\nSunday.\n</think>\n\nyes"):
        text = render(chats, ROW.model_copy(update={"answer": answer}))
        assert text.endswith("assistant\n<think>\nSunday.\n</think>\n\nyes<|end|>")


def test_options_are_not_weighed_inside_a_thought() -> None:
    with pytest.raises(ConfigError, match=r"set student\.thoughts to close"):
        encode(THINKS, thoughts="open").answers(ROW, ("yes", "no"))


def test_an_answer_with_a_thought_does_not_follow_a_closed_one() -> None:
    row = ROW.model_copy(update={"answer": "<think>Sunday.</think>yes"})
    with pytest.raises(DatasetError, match=r"row 'r1'.* set student\.thoughts to open"):
        encode(THINKS).learned(row)
    assert render(encode(), row).endswith("assistant\n<think>Sunday.</think>yes<|end|>")


def test_a_token_beyond_the_vocabulary_is_named() -> None:
    tokenizer = make_tokenizer()
    with pytest.raises(ConfigError, match=r"token '<\|pad\|>' has the number 258, but the student has only 258 tokens"):
        ChatTokenizer(tokenizer, ChatSpec(template=PLAIN + "<|pad|>"), n_embeddings=258).prompt(ROW)
    assert ChatTokenizer(tokenizer, ChatSpec(template=PLAIN), n_embeddings=258).prompt(ROW)


def test_an_empty_answer_is_refused() -> None:
    with pytest.raises(DatasetError, match="row 'r1' has an empty answer"):
        encode().learned(ROW.model_copy(update={"answer": " "}))
