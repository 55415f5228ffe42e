"""Thoughts before answers."""

import time

import pytest

from pada_agent.core.thoughts import (
    PAIRS,
    find_closer,
    find_open_thought,
    is_mark,
    is_unfinished_thought,
    strip_thoughts,
)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("42", "42"),
        ("  42\n", "  42\n"),
        ("<think>\n6 * 7 is 41? No.\n</think>\n\n42", "42"),
        ("\n<thinking>hm</thinking> 42 ", "42"),
        ("6 * 7 is 41? No.\n</think>\n\n42", "42"),
        ("hm [/THINK]42", "42"),
        ("<think>first</think>41? <think>second</think>42", "42"),
        ("42 <think>was that right? yes</think>", "42"),
        ("hm</think>\n", ""),
        ("<THINK>hm</Think>42", "42"),
        ("<thinking effort='low'>hm</thinking>42", "42"),
        ("<seed:think>hm</seed:think>42", "42"),
        ("<longcat_think>hm</longcat_think>42", "42"),
        ("<|thinking|>hm<|/thinking|>42", "42"),
        ("<|channel>thought\nhm<channel|>42", "42"),
        ("read [think](https://a.b) first", "read [think](https://a.b) first"),
        ("<think><think>inside</think>still</think>42", "42"),
        ("<think>a mark of another kind: </reasoning> 41</think>42", "42"),
        ("<think>cut off before the ans", ""),
        ("42 <think>was that right", "42"),
        ("◁think▷hm◁/think▷42", "42"),
        ("<|channel|>analysis<|message|>6 * 7<|end|><|start|>assistant<|channel|>final<|message|>42<|return|>", "42"),
        ("<|channel|>final <|constrain|>json<|message|>42", "42"),
        ("<|channel|>analysis<|message|>6 * 7 is", ""),
        ("analysis6 * 7 is 41? No.assistantfinal42", "42"),
        ("analysis of the text", "analysis of the text"),
        ("x < 3 and <b>bold</b>", "x < 3 and <b>bold</b>"),
    ],
)
def test_what_is_left_is_the_answer(text: str, answer: str) -> None:
    assert strip_thoughts(text) == answer


NAMES = ("think", "thinking", "thought", "thoughts", "reasoning", "scratchpad", "reflection", "analysis")


@pytest.mark.parametrize(("opener", "closer"), [*PAIRS.items(), *((f"<{name}>", f"</{name}>") for name in NAMES)])
def test_every_form_is_known_whole_closed_alone_and_cut_off(opener: str, closer: str) -> None:
    assert strip_thoughts(f"{opener}hm{closer}42") == "42"
    assert strip_thoughts(f"hm{closer}42") == "42"
    assert strip_thoughts(f"{opener}hm") == ""


@pytest.mark.parametrize(
    ("text", "opener"),
    [
        ("<|im_start|>assistant\n", ""),
        ("<|im_start|>assistant\n<think>\n", "<think>"),
        ("<|im_start|>assistant\n<think>\n\n</think>\n\n", ""),
        ("[THINK]", "[THINK]"),
    ],
)
def test_a_prompt_that_ends_inside_a_thought_is_seen(text: str, opener: str) -> None:
    assert find_open_thought(text) == opener


@pytest.mark.parametrize(
    ("opener", "closer"),
    [
        *PAIRS.items(),
        ("<think>", "</think>"),
        ("<Thought>", "</Thought>"),
        ("<seed:think>", "</seed:think>"),
        ("<|thinking|>", "<|/thinking|>"),
        ("<thinking effort='low'>", "</thinking>"),
    ],
)
def test_what_is_open_can_be_closed(opener: str, closer: str) -> None:
    assert find_closer(opener) == closer
    assert strip_thoughts(f"{opener}hm{closer}42") == "42"
    assert is_mark(opener) and is_mark(closer)
    assert not is_mark(f"{opener}hm")


@pytest.mark.parametrize(
    ("text", "thinks"),
    [
        ('Here is my thought process: [{"answer": "a draft"}] but', True),
        ("**Thinking Process:**\n1. A draft", True),
        ("Thinking:\n- the answer could be", True),
        ("Okay, let me think. The rows", True),
        ("The user wants three rows. One could", True),
        ("Reasoning:\nA draft.\n\n**Final answer:**\n[{", False),
        ("Thoughts: a draft\n## Answer\n[{", False),
        ('[{"question": "Thinking: what is it?"', False),
        ("Here are the rows: [{", False),
        ("Okay, here they are: [{", False),
        ("We need to write three rows. Maybe [{", True),
        ("Let's think: [{", True),
        ('嗯，用户让我写两行。草稿：[{"row": 1}]，不过', True),
        ("好的，我现在需要写三个例子。比如 [{", True),
        ("首先，需要看看题目 [{", True),
        ("用户要求写三行 [{", True),
        ("思考过程：\n[{", True),
        ("嗯，用户让我写两行。\n答案：\n[{", False),
        ("好的，以下是三个例子：[{", False),
        ("まず、ユーザーの依頼を考えます。[{", True),
        ("以下が回答です：[{", False),
        ("먼저 사용자가 원하는 것은 [{", True),
        ("다음은 세 개의 예입니다: [{", False),
        ("Okay, der Nutzer möchte drei Zeilen. [{", True),
        ("Gut, hier sind drei Zeilen: [{", False),
        ("D'accord, l'utilisateur veut trois lignes. [{", True),
        ("Voici trois lignes : [{", False),
        ("Bien, el usuario quiere tres filas. [{", True),
        ("Хорошо, пользователь просит три строки. [{", True),
        ("Вот три строки: [{", False),
        ('Let\'s start!\n[{"row": 1}, {', False),
        ('Bien, vamos a generar tres filas:\n\n[{"row": 1}, {', False),
        ('好的，我们来写：\n[{"row": 1}, {', False),
        ("Okay, the user wants rows like this:\n[{", True),
    ],
)
def test_a_text_that_was_cut_off_may_be_a_thought_in_plain_words(text: str, thinks: bool) -> None:
    assert is_unfinished_thought(text) == thinks


@pytest.mark.parametrize(
    "text",
    [
        "Okay, " + "a " * 60_000,
        " " * 100_000 + "好的" * 40_000,
        "まず" + "あ" * 100_000,
        "Let's see:" + "\n" * 100_000,
        "<think>" * 40_000,
        "</think>" * 40_000,
        "analysis" * 40_000,
        "<|channel|>" * 40_000,
        "<think " * 40_000,
        "<" + "abcdefghij_" * 20_000,
    ],
)
def test_time_grows_with_the_text_alone(text: str) -> None:
    start = time.perf_counter()
    strip_thoughts(text)
    is_unfinished_thought(text)
    assert time.perf_counter() - start < 5
