"""Compares the prompts of a written tokenizer, as others render them, with those that the student was trained on."""

from collections.abc import Sequence
from itertools import takewhile
from typing import Any

from pada_agent.core.records import Example
from pada_agent.training.encoding import ChatEncoder
from pada_agent.training.tokenizer_files import is_corrected

N_SHOWN = 60
"""Characters of a prompt, from where two begin to differ."""


def describe_other_prompts(tokenizer: Any, encoder: ChatEncoder, examples: Sequence[Example]) -> str:
    """How many prompts plain transformers renders otherwise than `encoder`, and where the first differs. Empty if there are none."""
    pairs = [(row, _render(tokenizer, encoder, row), encoder.show(row)) for row in examples]
    others = [pair for pair in pairs if pair[1] != pair[2]]
    if not others:
        return ""
    row, found, expected = others[0]
    start = len(list(takewhile(lambda pair: pair[0] == pair[1], zip(found, expected, strict=False))))
    return (
        f"The model's chat template renders {len(others)} of {len(pairs)} prompts differently from the run: in row {row.id!r} it"
        f" writes {_cut(found, start)} where the run has {_cut(expected, start)}. Send the run's prompts as text, without the"
        " template: the student was trained on them."
    )


def describe_other_splitting(tokenizer: Any) -> str:
    """What to do if transformers' `AutoTokenizer` makes another tokenizer of the written files. Empty if it makes the same."""
    if not is_corrected(tokenizer):
        return ""
    return (
        "AutoTokenizer splits texts differently from the model's tokenizer.json, with which it was trained. Load its tokenizer with"
        " PreTrainedTokenizerFast.from_pretrained."
    )


def _render(tokenizer: Any, encoder: ChatEncoder, row: Example) -> str:
    text: str = tokenizer.apply_chat_template(encoder.list_messages(row), add_generation_prompt=True, tokenize=False)
    return text


def _cut(prompt: str, start: int) -> str:
    return repr(prompt[start : start + N_SHOWN]) if prompt[start:] else "nothing"
