"""Answers stand where the chat template puts them, in training, scoring and generation."""

import pytest

from pada_agent.core.errors import DatasetError
from pada_agent.core.jobs import ChatSpec
from pada_agent.core.records import Example, Turn
from pada_agent.evaluation.chat_tokenizer import ChatTokenizer
from tests.chat_templates import AS_EVER, LED, QWEN3_THINKING, Family, make_student_tokenizer
from tests.tokenizers_in_memory import PLAIN, make_tokenizer

ROW = Example(id="r1", prompt="What color is grass?", answer="green", options=("green", "red", "gray"))
TALK = ROW.model_copy(
    update={"history": (Turn(role="user", content="Hi"), Turn(role="assistant", content="Hello"))},
)
OPENS = PLAIN.replace("assistant\n{% endif %}", "assistant\n<think>\n{% endif %}")


def render_whole(tokenizer: object, row: Example) -> list[int]:
    """The whole conversation, as `apply_chat_template` of transformers and TRL render it."""
    earlier = [{"role": turn.role, "content": turn.content} for turn in row.history]
    turns = [*earlier, {"role": "user", "content": row.prompt}, {"role": "assistant", "content": row.answer}]
    text = tokenizer.apply_chat_template(turns, tokenize=False)  # type: ignore[attr-defined]
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]  # type: ignore[operator]
    return ids


@pytest.mark.parametrize("row", [ROW, TALK], ids=["one turn", "several turns"])
@pytest.mark.parametrize("family", [*AS_EVER.values(), *LED.values()], ids=[*AS_EVER, *LED])
def test_what_is_learned_is_the_whole_conversation_without_the_prompt(family: Family, row: Example) -> None:
    tokenizer = make_student_tokenizer(family)
    chats = ChatTokenizer(tokenizer)
    found = chats.prompt(row) + chats.learned(row)
    assert found == render_whole(tokenizer, row)[: len(found)]
    assert found[-1] == chats.end_token_id
    assert chats.show(row) + chats.show_learned(row) == tokenizer.decode(found)


@pytest.mark.parametrize("family", AS_EVER.values(), ids=AS_EVER)
def test_where_answers_follow_the_prompt_tokens_and_ids_are_as_ever(family: Family) -> None:
    tokenizer = make_student_tokenizer(family)
    chats = ChatTokenizer(tokenizer)
    green, gray = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("green", " gray\n"))
    assert chats.learned(ROW) == [*green, chats.end_token_id]
    assert chats.learned(ROW.model_copy(update={"answer": " gray\n"})) == [*gray, chats.end_token_id]
    assert chats.answers(ROW, ("green", " gray\n")) == [green, gray]
    assert (chats.lead(ROW), chats.count_lead(ROW, [green]), chats.count_text("green")) == ([], 0, len(green))
    assert chats.rendering == 1
    chat = ChatSpec(rendering=chats.rendering)
    assert chat.model_dump() == {key: value for key, value in ChatSpec().model_dump().items() if key != "rendering"}


@pytest.mark.parametrize(
    ("name", "lead"),
    [
        ("gpt-oss", "<|channel|>final<|message|>"),
        ("Command R7B", "<|START_RESPONSE|>"),
        ("Mistral v0.3", " "),
        ("Zephyr", "\n"),
        ("ChatML without a generation prompt", "<|im_start|>assistant\n"),
        ("Qwen3", "<think>\n\n</think>\n\n"),
    ],
)
def test_options_are_told_apart_behind_what_the_template_puts_before_an_answer(name: str, lead: str) -> None:
    tokenizer = make_student_tokenizer(LED[name])
    chats = ChatTokenizer(tokenizer)
    answers = chats.answers(ROW, ROW.options)
    n_lead = chats.count_lead(ROW, answers)
    assert tokenizer.decode(answers[0][:n_lead]) == tokenizer.decode(chats.lead(ROW)) == lead
    assert [tokenizer.decode(answer[n_lead:]) for answer in answers] == list(ROW.options)
    assert answers[0] == chats.learned(ROW)[:-1]
    assert chats.count_text("green") == len(answers[0])
    assert chats.rendering == 2 == ChatSpec(rendering=2).model_dump()["rendering"]


def test_a_space_before_an_answer_may_be_part_of_its_first_token() -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    pieces = ["<s>", "</s>", "[INST]", "[/INST]", *sorted(pre_tokenizers.ByteLevel.alphabet()), "Ġg", "gr"]
    core = Tokenizer(models.BPE(vocab={piece: i for i, piece in enumerate(pieces)}, merges=[("Ġ", "g"), ("g", "r")]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens(pieces[:4])
    template = LED["Mistral v0.3"].template
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, chat_template=template, eos_token="</s>")
    chats = ChatTokenizer(tokenizer)
    green, red = answers = chats.answers(ROW, ("green", "red"))
    assert tokenizer.convert_ids_to_tokens(green) == ["Ġg", "r", "e", "e", "n"]
    assert tokenizer.convert_ids_to_tokens(red) == ["Ġ", "r", "e", "d"]
    assert chats.count_lead(ROW, answers) == 0, "both are scored from the same place"
    assert chats.count_lead(ROW, [red]) == 1


def test_an_answer_with_a_thought_of_its_own_replaces_the_empty_one() -> None:
    tokenizer = make_student_tokenizer(LED["Qwen3"])
    row = ROW.model_copy(update={"answer": "<think>\nPlants.\n</think>\n\ngreen"})
    chats = ChatTokenizer(tokenizer)
    found = chats.prompt(row) + chats.learned(row)
    assert found == render_whole(tokenizer, row)[: len(found)]


def test_an_opened_thought_is_closed_as_the_template_closes_it() -> None:
    tokenizer = make_student_tokenizer(QWEN3_THINKING)
    chats = ChatTokenizer(tokenizer)
    found = chats.prompt(ROW) + chats.learned(ROW)
    assert found == render_whole(tokenizer, ROW)[: len(found)]
    assert tokenizer.decode(chats.learned(ROW)) == "green<|im_end|>"
    assert chats.lead(ROW) == [] and chats.warnings == []
    bare = QWEN3_THINKING._replace(template=QWEN3_THINKING.template.replace("</think>\n\n", "</think>"))
    assert ChatTokenizer(make_student_tokenizer(bare)).show(ROW).endswith("<think>\n\n</think>")


@pytest.mark.parametrize("question", ["hi", "think", "n", "<think>", "k>", "assistant", "hello", "</think>"])
@pytest.mark.parametrize("system", [None, "", "Be short."])
def test_a_thought_is_closed_whatever_the_question_is(question: str, system: str | None) -> None:
    chats = ChatTokenizer(make_tokenizer(), ChatSpec(template=OPENS, system=system))
    row = ROW.model_copy(update={"prompt": question})
    assert chats.show(row).endswith(f"{question}<|end|>\n<|start|>assistant\n<think>\n\n</think>\n\n")
    still_open = ChatTokenizer(make_tokenizer(), ChatSpec(template=OPENS, thoughts="open"))
    assert still_open.opening(row) == "<think>\n"


def test_a_template_that_heeds_a_word_in_the_question_is_read_for_each_row() -> None:
    quiet = "{% if '/no_think' in messages[-1].content %}<think>\n\n</think>\n\n{% else %}<think>\n{% endif %}"
    chats = ChatTokenizer(make_tokenizer(), ChatSpec(template=OPENS.replace("<think>\n", quiet), thoughts="open"))
    assert chats.opening(ROW) == "<think>\n"
    assert chats.opening(ROW.model_copy(update={"prompt": "What color? /no_think"})) == ""
    with pytest.raises(DatasetError, match="its answer has no thought"):
        chats.learned(ROW)


def test_a_prompt_that_is_no_beginning_of_a_conversation_is_a_warning() -> None:
    template = PLAIN.replace("assistant\n{% endif %}", "assistant: {% endif %}")
    chats = ChatTokenizer(make_tokenizer(), ChatSpec(template=template))
    (warning,) = chats.warnings
    assert "ends a prompt with '<|end|>\\n<|start|>assistant: ', but puts answers behind" in warning
    assert "Set student.chat_template" in warning
    assert chats.show_learned(ROW) == "green<|end|>" and chats.rendering == 1
    assert ChatTokenizer(make_tokenizer(PLAIN)).warnings == []
    assert ChatTokenizer(make_tokenizer(OPENS)).warnings == []
    assert all(ChatTokenizer(make_student_tokenizer(family)).warnings == [] for family in LED.values())


def test_a_template_that_refuses_the_whole_conversation_is_a_warning_too() -> None:
    refuses = "{% if messages[-1].role == 'assistant' and messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}"
    chats = ChatTokenizer(make_tokenizer(), ChatSpec(template=refuses + PLAIN, system="Be short."))
    (warning,) = chats.warnings
    assert "but renders no conversation with an answer" in warning
    assert chats.show_learned(ROW) == "green<|end|>"


def test_a_template_without_the_token_that_begins_texts_is_warned_about() -> None:
    """A base Gemma without it has a perplexity of millions (EleutherAI/lm-evaluation-harness#1465)."""
    from tokenizers.processors import TemplateProcessing

    tokenizer = make_tokenizer(PLAIN, special=("<s>", "<|start|>", "<|end|>"))
    starts = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", tokenizer.convert_tokens_to_ids("<s>"))])
    tokenizer.backend_tokenizer.post_processor = starts
    (warning,) = ChatTokenizer(tokenizer, ChatSpec(template=PLAIN)).warnings
    assert "begins texts with '<s>', but student.chat_template does not" in warning and "{{ bos_token }}" in warning
    assert ChatTokenizer(tokenizer, ChatSpec(template=f"<s>{PLAIN}")).warnings == []
    assert ChatTokenizer(tokenizer).warnings == [], "its own template is what its authors trained it with"
