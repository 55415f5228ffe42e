"""Greedy generation in batches of equal texts: sorted by length, left-padded, finished rows dropped."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer

from pada_agent.core.errors import DatasetError
from pada_agent.core.ports import PredictJob
from pada_agent.core.records import Example, Prediction
from pada_agent.training.encoding import ChatEncoder
from pada_agent.training.students import Student


@dataclass
class _Row:
    """A row while it is written."""

    index: int
    prompt: list[int]
    new: list[int] = field(default_factory=list)
    finished: bool = False


@torch.inference_mode()
def generate(
    student: Student,
    encoder: ChatEncoder,
    examples: Sequence[Example],
    *,
    job: PredictJob,
    on_done: Callable[[int], None],
) -> list[Prediction]:
    """What the student writes, up to its end of turn, a stop string, or `job.max_new_tokens`.

    Raises:
        DatasetError: a row that leaves no room in the model's context; names the row.
    """
    rows = [_Row(i, encoder.prompt(example)) for i, example in enumerate(examples)]
    for row in rows:
        if len(row.prompt) + job.max_new_tokens > student.context_tokens:
            raise DatasetError(
                f"row {examples[row.index].id!r} has {len(row.prompt)} tokens; with {job.max_new_tokens} new ones that is"
                f" more than the student's context of {student.context_tokens}"
            )
    stops = _Stops(student.tokenizer, job, _end_ids(student, encoder))
    ordered = sorted(rows, key=lambda row: len(row.prompt), reverse=True)
    for first in range(0, len(ordered), job.batch_size):
        _write_batch(student, ordered[first : first + job.batch_size], stops)
        on_done(min(first + job.batch_size, len(ordered)))
    return [stops.read(example, row) for example, row in zip(examples, rows, strict=True)]


def _end_ids(student: Student, encoder: ChatEncoder) -> frozenset[int]:
    known = student.model.generation_config.eos_token_id
    return frozenset([encoder.end_token_id, *([known] if isinstance(known, int) else known or [])])


class _Stops:
    """Decides when a row is finished, and reads its text."""

    def __init__(self, tokenizer: Any, job: PredictJob, end_ids: frozenset[int]) -> None:
        self._tokenizer = tokenizer
        self._strings = job.stop
        self._max_new_tokens = job.max_new_tokens
        self._end_ids = end_ids
        self._n_tail = 1 + max((len(s.encode()) for s in job.stop), default=0)
        """A token is at least one byte, so a stop string that just ended stands in this many tokens."""

    def add(self, row: _Row, token: int) -> None:
        """Append the token unless it ends the row."""
        if token in self._end_ids:
            row.finished = True
            return
        row.new.append(token)
        row.finished = len(row.new) >= self._max_new_tokens or self._has_stop(row.new[-self._n_tail :])

    def read(self, example: Example, row: _Row) -> Prediction:
        text = self._decode(row.new)
        ends = [at for s in self._strings if (at := text.find(s)) >= 0]
        return Prediction(
            example_id=example.id,
            response=text[: min(ends)] if ends else text,
            n_new_tokens=len(row.new),
            truncated=len(row.new) >= self._max_new_tokens and not ends,
        )

    def _has_stop(self, tokens: list[int]) -> bool:
        return bool(self._strings) and any(s in self._decode(tokens) for s in self._strings)

    def _decode(self, tokens: list[int]) -> str:
        text: str = self._tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text


def _write_batch(student: Student, rows: list[_Row], stops: _Stops) -> None:
    """Prefill once, then one token a step for the rows still open."""
    input_ids, mask = _left_pad([row.prompt for row in rows], student.device)
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    cache = _make_cache(student)
    while True:
        output = student.model(
            input_ids=input_ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        tokens = output.logits[:, -1].argmax(-1)
        for row, token in zip(rows, tokens.tolist(), strict=True):
            stops.add(row, token)
        keep = [slot for slot, row in enumerate(rows) if not row.finished]
        if not keep:
            return
        if len(keep) < len(rows):
            rows = [rows[slot] for slot in keep]
            kept = torch.tensor(keep, device=student.device)
            cache.batch_select_indices(kept)
            tokens, mask, positions = tokens[kept], mask[kept], positions[kept]
        input_ids, positions = tokens[:, None], positions[:, -1:] + 1
        mask = torch.cat([mask, mask.new_ones(len(rows), 1)], dim=1)


class _RoomyLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values with room for those to come: a step writes its own, where the library's layer copies all."""

    ROOM = 64
    """Positions that are added when there is no room left."""

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Start without any position."""
        super().lazy_initialization(key_states, value_states)
        self.keys = self._keys = key_states[..., :0, :]
        self.values = self._values = value_states[..., :0, :]

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Add positions; gives all keys and values, (B, H, T, D) each."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        before = self.keys.shape[-2]
        after = before + key_states.shape[-2]
        if after > self._keys.shape[-2]:
            self._keys, self._values = self._extend(self.keys, after), self._extend(self.values, after)
        self._keys[..., before:after, :] = key_states
        self._values[..., before:after, :] = value_states
        self.keys, self.values = self._keys[..., :after, :], self._values[..., :after, :]
        return self.keys, self.values

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep these rows."""
        n = self.keys.shape[-2]
        self._keys, self._values = self._keys[indices], self._values[indices]
        self.keys, self.values = self._keys[..., :n, :], self._values[..., :n, :]

    def _extend(self, old: torch.Tensor, n: int) -> torch.Tensor:
        new = old.new_empty(*old.shape[:-2], n + self.ROOM, old.shape[-1])
        new[..., : old.shape[-2], :] = old
        return new


def _make_cache(student: Student) -> DynamicCache:
    """The library's own for this model, with room in its plain layers."""
    cache = DynamicCache(config=student.model.config)
    cache.layers = [_RoomyLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


def _left_pad(prompts: list[list[int]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and mask, both (B, T); which id pads is irrelevant under the mask."""
    width = max(map(len, prompts))
    ids = [[0] * (width - len(p)) + p for p in prompts]
    mask = [[0] * (width - len(p)) + [1] * len(p) for p in prompts]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)
