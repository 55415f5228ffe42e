"""Thoughts that a model writes before its answer, in the forms that models are known to write them."""

import re

MARKS = {
    "<think>": "</think>",
    "<thinking>": "</thinking>",
    "<thought>": "</thought>",
    "<reasoning>": "</reasoning>",
    "<seed:think>": "</seed:think>",
    "<|begin_of_thought|>": "<|end_of_thought|>",
    "◁think▷": "◁/think▷",
    "[THINK]": "[/THINK]",
}
"""What opens a thought, and what closes it."""

_CLOSES = {closer: opener for opener, closer in MARKS.items()}
_MARK = re.compile("|".join(re.escape(mark) for pair in MARKS.items() for mark in pair))
_FINAL_CHANNEL = re.compile(r"<\|channel\|>final[^<]*(?:<\|constrain\|>[^<]*)?<\|message\|>")
_END_OF_MESSAGE = re.compile(r"<\|(?:end|return|call)\|>")
_CHANNEL_WORDS = re.compile(r"\s*analysis.*assistantfinal", re.DOTALL)
"""What is left of channels when control tokens are not shown."""


def strip_thoughts(text: str) -> str:
    """The answer without the thoughts before it; empty where a thought was cut off before an answer came.

    A closing mark alone closes a thought that the prompt had opened. Text without any mark is given back as it is.
    """
    text = _take_final_channel(text)
    kept: list[str] = []
    opener, start, n_marks = "", 0, 0
    for mark in _MARK.finditer(text):
        n_marks += 1
        if mark.group() in MARKS and not opener:
            kept.append(text[start : mark.start()])
            opener = mark.group()
        elif mark.group() in _CLOSES and not opener:
            kept.clear()
            start = mark.end()
        elif _CLOSES.get(mark.group()) == opener:
            opener, start = "", mark.end()
    if not n_marks:
        return text
    return "".join(kept if opener else [*kept, text[start:]]).strip()


def has_marks(text: str) -> bool:
    """Whether anything in the text may open or close a thought."""
    return bool(_MARK.search(text) or "<|channel|>" in text or _CHANNEL_WORDS.match(text))


def find_open_thought(text: str) -> str:
    """The mark that opened a thought which is still open where `text` ends; empty if there is none."""
    marks = _MARK.findall(text)
    return marks[-1] if marks and marks[-1] in MARKS else ""


def _take_final_channel(text: str) -> str:
    """The last message of the channel `final` (gpt-oss); nothing where other channels are all there is."""
    if "<|channel|>" in text:
        found = _FINAL_CHANNEL.split(text)
        return _END_OF_MESSAGE.split(found[-1])[0] if len(found) > 1 else ""
    words = _CHANNEL_WORDS.match(text)
    return text[words.end() :] if words else text
