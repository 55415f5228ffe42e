"""Counts the tokens of rows in this process, using the tokenizer from the compute backend, without importing torch."""

from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from pada_agent.core.damage import word_damage
from pada_agent.core.errors import ArtifactError
from pada_agent.core.jobs import TOKENIZER_FACTS, ChatSpec, TokenizerFacts, TokenizerJob
from pada_agent.core.ports import Compute
from pada_agent.core.records import Example, RowTokens
from pada_agent.evaluation.chat_tokenizer import ChatTokenizer


class StudentTokenCounter:
    """Implements `core.ports.TokenCounter`. The tokenizer is loaded with the first row, by a job that also checks what later jobs need."""

    def __init__(self, compute: Compute, job: TokenizerJob, chat: ChatSpec) -> None:
        self._compute = compute
        self._job = job
        self._chat = chat

    @property
    def context_tokens(self) -> int:
        return self._facts.context_tokens

    @property
    def rendering(self) -> Literal[1, 2, 3]:
        by_template = self._chats.rendering
        if not self._facts.splits_otherwise:
            return by_template
        return 2 if by_template == 1 else 3

    @property
    def warnings(self) -> list[str]:
        return self._chats.warnings

    def count(self, example: Example) -> RowTokens:
        return RowTokens(prompt=len(self._chats.prompt(example)), answer=len(self._chats.learned(example)))

    def count_asked(self, example: Example) -> RowTokens:
        prompt = len(self._chats.prompt(example))
        if not example.options:
            return RowTokens(prompt=prompt, answer=self._chats.count_text(example.answer) + 1)
        return RowTokens(prompt=prompt, answer=max(map(len, self._chats.answers(example, example.options))))

    def count_text(self, text: str) -> int:
        return self._chats.count_text(text)

    def show(self, example: Example) -> str:
        return self._chats.show(example)

    def show_learned(self, example: Example) -> str:
        return self._chats.show_learned(example)

    @cached_property
    def _folder(self) -> Path:
        return self._compute.wait(self._compute.submit(self._job), lambda _: None)

    @cached_property
    def _facts(self) -> TokenizerFacts:
        path = self._folder / TOKENIZER_FACTS
        try:
            return TokenizerFacts.model_validate_json(path.read_bytes())
        except (FileNotFoundError, ValidationError) as exc:
            raise ArtifactError(
                f"{path}: damaged ({word_damage(exc)}). Delete the folder {path.parent}, then run the same command again."
            ) from exc

    @cached_property
    def _chats(self) -> ChatTokenizer:
        facts = self._facts
        return ChatTokenizer(
            read_tokenizer(self._folder),
            self._chat,
            end_token_ids=facts.end_token_ids,
            n_embeddings=facts.n_embeddings,
        )


def read_tokenizer(folder: Path) -> Any:
    """Load the tokenizer. Only one written in Python needs its own class, and with it torch."""
    if (folder / "tokenizer.json").is_file():
        from transformers.tokenization_utils_tokenizers import PreTrainedTokenizerFast

        return PreTrainedTokenizerFast.from_pretrained(str(folder))
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
