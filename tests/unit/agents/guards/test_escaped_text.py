"""Escapes that a writer wrote once too often."""

import pytest

from pada_agent.agents.guards.escaped_text import unescape_as_in


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (r"Where is the caf\u00e9?", "Where is the café?"),
        (r"\u6211\u7684\u5361", "我的卡"),
        (r"\ud83d\ude00 lost", "😀 lost"),
        (r"half \ud83d", "half \ufffd"),
        (r"First.\nThen \n- this", "First.\nThen \n- this"),
        (r"Q:\nWhy?", "Q:\nWhy?"),
        (r"He said \"stop\" twice", 'He said "stop" twice'),
        ("Ben &amp; Co don&#39;t say &quot;no&quot;", 'Ben & Co don\'t say "no"'),
        ("two&nbsp;words", "two words"),
        (r"\nu and \neq and \"o stay", r"\nu and \neq and \"o stay"),
        (r"\u0000 and \u001b stay", r"\u0000 and \u001b stay"),
        ("AT&T; R&D", "AT&T; R&D"),
        ("plain", "plain"),
    ],
)
def test_characters_are_as_they_were_meant(written: str, meant: str) -> None:
    assert unescape_as_in(["A real question?"], {"question": written, "answer": "yes"}) == {
        "question": meant,
        "answer": "yes",
    }


@pytest.mark.parametrize("text", [r"What is \u00e9?", r"What does \n do?", r"Is \"x\" right?", "What is &lt;b&gt;?"])
def test_escapes_of_real_rows_belong_to_the_data(text: str) -> None:
    assert unescape_as_in([text], {"question": text}) == {"question": text}


@pytest.mark.parametrize(
    "text",
    [
        r'{"title": "The \"best\" book", "city": "M\u00fcnchen"}',
        r'print("Hello\n")',
        r"tr '\n' ' '",
        r"\n",
        "&lt;",
        r"\begin{cases} m = 1 \\n = 2 \end{cases}",
        r"p \nRightarrow q",
        r"Save it as C:\New\U0001, then \n",
        'In "a\\"b\\"c" two are escaped',
        "First line\nEach line ends with \\n.",
        "<p>Ben &amp; Co</p>",
        "How is a &lt; written in HTML?",
        r"What does \u00e9 stand for in Unicode?",
        r"```\nfind(\"x\")\n```",
        r"^\d+\nEND$",
    ],
)
def test_escapes_that_a_row_is_about_stay(text: str) -> None:
    assert unescape_as_in(["A real question?"], {"question": text}) == {"question": text}


def test_the_options_of_a_question_about_escapes_stay() -> None:
    fields = {"question": "Which of these is an escape sequence?", "choices": "A) \\n B) \\u00e9"}
    assert unescape_as_in(["A real question?"], fields) == fields
