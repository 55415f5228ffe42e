"""From rows to tokens: one chat template path for training, scoring and generation."""

from dataclasses import dataclass, replace
from typing import Any

from jinja2 import TemplateError

from pada_agent.core.errors import DatasetError, TrainingError
from pada_agent.core.jobs import LoraSpec
from pada_agent.core.records import Example

IGNORE_INDEX = -100
"""Label of a token that is not learned (PyTorch's convention)."""


@dataclass(frozen=True)
class Encoded:
    """One token sequence; `labels` is IGNORE_INDEX on all but the answer's tokens."""

    input_ids: list[int]
    labels: list[int]
    n_cut: int = 0
    """Prompt tokens left out to stay within the limit."""


def join(prompt: list[int], answer: list[int]) -> Encoded:
    """The sequence in which only the answer has labels."""
    return Encoded(input_ids=prompt + answer, labels=[IGNORE_INDEX] * len(prompt) + answer)


class ChatEncoder:
    """Renders user and assistant turns with the tokenizer's own chat template."""

    def __init__(self, tokenizer: Any, system: str | None = None) -> None:
        """`system` None keeps the template's default turn; "" asks for the shortest rendering it allows.

        Raises:
            TrainingError: the tokenizer has no chat template, or its template no end of turn.
        """
        if not tokenizer.chat_template:
            raise TrainingError(
                "the student's tokenizer has no chat template: choose an instruct model, or add one to its folder"
            )
        self._tokenizer = tokenizer
        self._system_turns = _choose_system_turns(system)
        self._end = self._find_end_of_turn()

    @property
    def end_token_id(self) -> int:
        """Token that closes the assistant's turn."""
        return self._end

    def prompt(self, example: Example) -> list[int]:
        """Everything up to where the assistant starts to write."""
        return self._tokenize(self._render_prompt(example))

    def answers(self, example: Example, texts: tuple[str, ...]) -> list[list[int]]:
        """Tokens of each assistant text as it continues the prompt, without the end of turn."""
        rendered = self._render_prompt(example)
        prompt = self._tokenize(rendered)
        return [self._continue(rendered, prompt, text) for text in texts]

    def training_row(self, example: Example, spec: LoraSpec) -> Encoded:
        """Prompt, answer and end of turn, at most `spec.max_length` tokens.

        Raises:
            DatasetError: an empty answer, or too long and `on_too_long` is `error` or the answer alone does not fit; names the row.
        """
        if not example.answer.strip():
            raise DatasetError(
                f"row {example.id!r} has an empty answer: there is nothing to learn from it. Drop the row."
            )
        prompt = self.prompt(example)
        answer = [*self.answers(example, (example.answer,))[0], self._end]
        room = spec.max_length - len(answer)
        if room < 1 or (len(prompt) > room and spec.on_too_long == "error"):
            raise DatasetError(
                f"row {example.id!r} has {len(prompt)} prompt and {len(answer)} answer tokens, lora.max_length is {spec.max_length}:"
                " raise it, drop the row, or set lora.on_too_long to truncate (which cuts the prompt, never the answer)"
            )
        return replace(join(prompt[-room:], answer), n_cut=max(0, len(prompt) - room))

    def _render_prompt(self, example: Example) -> str:
        turns = list_turns(example)
        systems = self._system_turns if example.system is None else _choose_system_turns(example.system)
        renderings = [self._render([*system, *turns], add_generation_prompt=True) for system in systems]
        found = [text for text in renderings if text is not None]
        if not found:
            raise TrainingError("the student's chat template takes no system turn: set student.system to null")
        return min(found, key=len)

    def _render(self, turns: list[dict[str, str]], *, add_generation_prompt: bool) -> str | None:
        """None where the template refuses these turns. The date some templates insert is fixed: a row has one rendering."""
        try:
            text: str = self._tokenizer.apply_chat_template(
                turns, tokenize=False, add_generation_prompt=add_generation_prompt, date_string="26 Jul 2024"
            )
        except TemplateError:
            return None
        return text

    def _find_end_of_turn(self) -> int:
        """The first special token that the template puts after an assistant's text, else the tokenizer's end of sequence."""
        probe = "probe-7f3a"
        turns = [{"role": "user", "content": "x"}, {"role": "assistant", "content": probe}]
        rest = (self._render(turns, add_generation_prompt=False) or "").rpartition(probe)[2]
        special = [token for token in self._tokenize(rest) if token in self._tokenizer.all_special_ids]
        end = special[0] if special else self._tokenizer.eos_token_id
        if end is None:
            raise TrainingError(
                "the student's chat template has no end of turn and its tokenizer no end of sequence token"
            )
        return int(end)

    def _continue(self, rendered: str, prompt: list[int], text: str) -> list[int]:
        """Tokens of `text` after the prompt: read in context, unless that would change the prompt's own last token."""
        joint = self._tokenize(rendered + text)
        if joint[: len(prompt)] == prompt:
            return joint[len(prompt) :]
        return self._tokenize(text)

    def _tokenize(self, text: str) -> list[int]:
        token_ids: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return token_ids


def list_turns(example: Example) -> list[dict[str, str]]:
    """The row's turns up to the one that is answered, as chat templates take them; without a system turn."""
    earlier = [{"role": turn.role, "content": turn.content} for turn in example.history]
    return [*earlier, {"role": "user", "content": example.prompt}]


def _choose_system_turns(system: str | None) -> list[list[dict[str, str]]]:
    """System turns to try; the shortest rendering is taken."""
    if system is None:
        return [[]]
    turn = [{"role": "system", "content": system}]
    return [turn] if system else [[], turn]
