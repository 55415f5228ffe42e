"""Turns rows into tokens to learn."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from pada_agent.core.errors import DatasetError
from pada_agent.core.jobs import ChatSpec, LoraSpec
from pada_agent.core.records import Example
from pada_agent.evaluation.chat_tokenizer import SENTINEL, ChatTokenizer, list_turns
from pada_agent.evaluation.fixed_template import fix_template
from pada_agent.evaluation.student_prompt import find_closing
from pada_agent.prompts.template_process import TODAY

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


class ChatEncoder(ChatTokenizer):
    """Renders turns with the student's chat template, and says which tokens are learned."""

    def __init__(
        self,
        tokenizer: Any,
        system: str | None = None,
        *,
        chat: ChatSpec | None = None,
        end_token_ids: Sequence[int] = (),
        n_embeddings: int | None = None,
    ) -> None:
        """`system` is short for a `chat` with nothing but a system turn."""
        chat = chat or ChatSpec(system=system)
        super().__init__(tokenizer, chat, end_token_ids=end_token_ids, n_embeddings=n_embeddings)

    @property
    def fixed_template(self) -> str:
        """The chat template with all settings in it: without any, it renders the same prompts from `list_messages`."""
        system = self._chat.system
        return fix_template(
            self._template,
            self._variables,
            today=TODAY,
            system=system if system or (system == "" and self._sends_empty_system) else None,
            closing=find_closing(self._first) if self._chat.thoughts == "close" else None,
        )

    def list_messages(self, example: Example) -> list[dict[str, str]]:
        """The row's own turns up to the one to answer. The settings' system turn is not among them."""
        empty = [{"role": "system", "content": ""}] if example.system == "" and self._sends_empty_system else []
        return [*empty, *list_turns(example, example.system)]

    @cached_property
    def _sends_empty_system(self) -> bool:
        """Whether an empty system turn is sent where none is wanted, because the template then leaves out its default one."""
        turns = [{"role": "user", "content": SENTINEL.format(0)}]
        found = self._render_empty_system(turns)
        return found is not None and len(found) < len(self._render(turns, add_generation_prompt=True))

    def training_row(self, example: Example, spec: LoraSpec) -> Encoded:
        """Prompt, answer and end of turn, at most `spec.max_length` tokens.

        Raises:
            DatasetError: the answer is empty or does not fit, or the row is too long and `on_too_long` is `error`. Names the row.
        """
        prompt, answer = self.prompt(example), self.learned(example)
        room = spec.max_length - len(answer)
        if room < 1 or (len(prompt) > room and spec.on_too_long == "error"):
            raise DatasetError(
                f"row {example.id!r} has {len(prompt)} prompt and {len(answer)} answer tokens, but lora.max_length is"
                f" {spec.max_length}. Raise it, drop the row, or set lora.on_too_long to truncate (which cuts the prompt,"
                " never the answer)."
            )
        return replace(join(prompt[-room:], answer), n_cut=max(0, len(prompt) - room))
