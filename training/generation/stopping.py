"""Rows that are being written, and what ends them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pada_agent.core.errors import DatasetError
from pada_agent.core.jobs import PredictJob
from pada_agent.core.records import Example, Prediction
from pada_agent.core.thoughts import find_closer, find_open_thought
from pada_agent.evaluation.added_tokens import AddedTokens
from pada_agent.training.encoding import ChatEncoder


@dataclass
class Row:
    """The tokens of one row."""

    prompt: list[int]
    opening: str = ""
    """The end of the prompt that opens a thought. Empty if none is open."""
    lead: list[int] = field(default_factory=list)
    """What the template puts before an answer. It is written, but no part of the answer."""
    new: list[int] = field(default_factory=list)
    finished: bool = False


def encode_rows(
    encoder: ChatEncoder, examples: Sequence[Example], *, max_new_tokens: int, context_tokens: int
) -> list[Row]:
    """The rows, with nothing written yet.

    Raises:
        DatasetError: a row leaves no room in the model's context. Names the row.
    """
    rows = [Row(encoder.prompt(example), encoder.opening(example), encoder.lead(example)) for example in examples]
    for example, row in zip(examples, rows, strict=True):
        if len(row.prompt) + max_new_tokens > context_tokens:
            raise DatasetError(
                f"row {example.id!r} has {len(row.prompt)} tokens; with {max_new_tokens} new ones, that is more than the"
                f" student's context of {context_tokens}"
            )
    return rows


class Stops:
    """Decides when a row is finished, and reads its text."""

    def __init__(self, tokenizer: Any, job: PredictJob, end_ids: frozenset[int]) -> None:
        self.end_ids = end_ids
        self._decode = AddedTokens(tokenizer).decode
        self._strings = job.stop
        self.max_new_tokens = job.max_new_tokens
        self._n_tail = 1 + max((len(s.encode()) for s in job.stop), default=0)
        """A token has at least one byte, so a stop string that just ended is within this many tokens."""

    def add(self, row: Row, token: int) -> None:
        """Append the token unless it ends the row."""
        if token in self.end_ids:
            row.finished = True
            return
        row.new.append(token)
        row.finished = len(row.new) >= self.max_new_tokens or self._has_stop(row)

    def add_all(self, row: Row, tokens: Sequence[int]) -> None:
        """Append tokens that were written regardless of what ends the row."""
        for token in tokens:
            if row.finished:
                break
            self.add(row, token)
        row.finished = True

    def count_room(self, row: Row) -> int:
        """How many more tokens the row may get."""
        return self.max_new_tokens - len(row.new)

    def read(self, example: Example, row: Row) -> Prediction:
        """The text before the first stop string, without the template's lead. If the prompt opened a thought, it begins with that opening."""
        text = self._decode(row.new)
        text = text[self._skip_lead(row, text) :]
        start = _skip_thought(row, text)
        ends = [at for s in self._strings if (at := text.find(s, start)) >= 0]
        return Prediction(
            example_id=example.id,
            response=row.opening + (text[: min(ends)] if ends else text),
            n_new_tokens=len(row.new),
            truncated=len(row.new) >= self.max_new_tokens and not ends,
        )

    def _has_stop(self, row: Row) -> bool:
        if not self._strings:
            return False
        text = self._decode(row.new if row.opening or row.lead else row.new[-self._n_tail :])
        start = max(_skip_thought(row, text), self._skip_lead(row, text))
        return any(text.find(s, start) >= 0 for s in self._strings)

    def _skip_lead(self, row: Row, text: str) -> int:
        """Where the text begins behind the template's lead, of which it may have only the beginning so far."""
        lead = self._decode(row.lead) if row.lead else ""
        return min(len(lead), len(text)) if text.startswith(lead) or lead.startswith(text) else 0


def _skip_thought(row: Row, text: str) -> int:
    """Where the answer starts: a stop string inside a thought ends nothing."""
    if not row.opening:
        return 0
    closer = find_closer(find_open_thought(row.opening))
    at = text.find(closer)
    return len(text) if at < 0 else at + len(closer)
