"""Answers requests together, one token per step, on one device. New requests join between two steps.

Tokens are sampled as in llama.cpp's server by default, except that a grammar masks before sampling, and not only after it has
rejected a sample.
"""

import logging
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import llguidance
import llguidance.numpy
import numpy as np
import torch
from torch.nn.functional import pad, scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.cache_utils import DynamicCache
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

TOP_K, TOP_P, MIN_P = 40, 0.95, 0.05
"""Defaults of llama.cpp's server, which applies them before the temperature."""
PREFILL_TOKENS = 16_384
"""Prompt tokens processed at once, including padding. Bounds the memory of a step."""
IDLE_SECONDS = 5.0
"""After this, memory kept for reuse is returned to the GPU."""
GROUPED = "grouped_sdpa"

log = logging.getLogger(__name__)


class WritingError(RuntimeError):
    """A request that failed while its answer was written: HTTP 500."""


@dataclass(eq=False)
class Row:
    """One request and its answer."""

    prompt: list[int]
    max_tokens: int
    temperature: float
    matcher: Any = None
    """llguidance's matcher. None: any text."""
    written: list[int] = field(default_factory=list)
    """Tokens of the answer, with the end token if there is one."""
    done: "Future[str]" = field(default_factory=Future)
    """The finish reason, or a WritingError."""

    @property
    def n_cached(self) -> int:
        """Tokens whose keys and values are cached: all but the last one, which the model has not read yet."""
        return len(self.prompt) + len(self.written) - 1

    def add(self, token: int, ends: frozenset[int]) -> None:
        """Append a token. The last one finishes the row."""
        if self.done.done():
            return
        self.written.append(token)
        if self.matcher is not None and not self.matcher.consume_token(token):
            self.fail(f"the grammar refused token {token}: {self.matcher.get_error()}")
        elif token in ends or (self.matcher is not None and self.matcher.is_stopped()):
            self.done.set_result("stop")
        elif len(self.written) >= self.max_tokens:
            self.done.set_result("length")

    def fail(self, reason: str) -> None:
        """End the row with an error, unless it has already ended."""
        if not self.done.done():
            log.error("a request failed: %s", reason)
            self.done.set_exception(WritingError(reason))


@dataclass
class Batch:
    """Rows in progress, with their keys and values, padded on the left: (B, H, T, D) per layer."""

    rows: list[Row]
    cache: Any

    @property
    def width(self) -> int:
        return int(self.cache.get_seq_length())

    def drop_finished(self) -> bool:
        """Keep the unfinished rows and the columns that they use. False if no row is left."""
        keep = [slot for slot, row in enumerate(self.rows) if not row.done.done()]
        if keep and len(keep) < len(self.rows):
            self.rows = [self.rows[slot] for slot in keep]
            width = max(row.n_cached for row in self.rows)
            for layer in self.cache.layers:
                kept = torch.tensor(keep, device=layer.keys.device)
                layer.keys = layer.keys[kept, :, -width:]
                layer.values = layer.values[kept, :, -width:]
        return bool(keep)

    def join(self, other: "Batch") -> None:
        """Add the rows of `other`, the narrower cache padded with zeros."""
        self.rows = self.rows + other.rows
        for ours, theirs in zip(self.cache.layers, other.cache.layers, strict=True):
            ours.keys = _stack(ours.keys, theirs.keys)
            ours.values = _stack(ours.values, theirs.values)


def _stack(one: torch.Tensor, two: torch.Tensor) -> torch.Tensor:
    width = max(one.shape[-2], two.shape[-2])
    return torch.cat([pad(t, (0, 0, width - t.shape[-2], 0)) for t in (one, two)])


def mask_left(lengths: Sequence[int], width: int, device: torch.device) -> torch.Tensor:
    """(B, width) mask: 1 in the last `lengths` columns of each row."""
    return (torch.arange(width, device=device) >= width - torch.tensor(lengths, device=device)[:, None]).long()


def draw(logits: torch.Tensor, temperatures: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """(B, V) fp32 logits to (B,) sampled tokens; the most likely one if the temperature is 0.

    Adds Gumbel noise and takes the maximum. Unlike `multinomial`, this needs no check whose failure aborts the GPU's process.
    """
    best, ids = logits.topk(min(TOP_K, logits.shape[-1]), dim=-1)
    chances = best.softmax(-1)
    keep = (chances.cumsum(-1) - chances < TOP_P) & (chances >= MIN_P * chances[:, :1])
    scores = (best / temperatures.clamp(min=1e-6)[:, None]).masked_fill(~keep, -torch.inf)
    noise = torch.empty_like(scores).exponential_(generator=generator).clamp_(min=1e-20).log()
    drawn = ids.gather(1, (scores - noise).argmax(-1, keepdim=True))[:, 0]
    return torch.where(temperatures > 0, drawn, logits.argmax(-1))


def forbid(logits: torch.Tensor, allowed: torch.Tensor) -> torch.Tensor:
    """Set logits to minus infinity where the bit in (B, ceil(V / 32)) int32 words is 0."""
    bits = torch.arange(32, device=logits.device, dtype=torch.int32)
    flags = ((allowed[:, :, None] >> bits) & 1).reshape(len(allowed), -1)[:, : logits.shape[-1]]
    return logits.masked_fill(flags == 0, -torch.inf)


def attend_grouped(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attention with one query per row. Heads that share keys become queries of one head, so that keys are not copied for each head."""
    if query.shape[2] > 1:
        found: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **kwargs
        )
        return found
    n_rows, n_heads, _, size = query.shape
    grouped = query.reshape(n_rows, key.shape[1], n_heads // key.shape[1], size)
    out = scaled_dot_product_attention(grouped, key, value, attn_mask=attention_mask, scale=scaling)
    return out.reshape(n_rows, 1, n_heads, size), None


AttentionInterface.register(GROUPED, attend_grouped)
AttentionMaskInterface.register(GROUPED, sdpa_mask)


@dataclass(frozen=True)
class Vocabulary:
    """Which tokens may be written."""

    ends: frozenset[int]
    """Tokens that end an answer."""
    n_tokens: int
    """Only ids below this may be written. The logits may be wider."""
    n_masked: int
    """Number of ids in a grammar's mask, at least the number of logits."""


class Engine:
    """The model and the thread that runs it."""

    def __init__(self, model: Any, vocabulary: Vocabulary, *, max_rows: int, seed: int) -> None:
        self._model, self._vocabulary, self._max_rows = model, vocabulary, max_rows
        self._device: torch.device = model.device
        self._generator = torch.Generator(device=self._device).manual_seed(seed)
        self._executor = llguidance.LLExecutor()
        self._waiting: deque[Row] = deque()
        self._arrived = threading.Condition()
        self._batch: Batch | None = None
        model.config._attn_implementation = GROUPED
        threading.Thread(target=self._run, name="engine", daemon=True).start()

    def write(self, row: Row) -> str:
        """Wait until the row is written, and return its finish reason.

        Raises:
            WritingError: it could not be written.
        """
        with self._arrived:
            self._waiting.append(row)
            self._arrived.notify()
        return row.done.result()

    @property
    def load(self) -> tuple[int, int]:
        """The number of rows in progress and waiting."""
        batch = self._batch
        return len(batch.rows) if batch else 0, len(self._waiting)

    @torch.inference_mode()
    def _run(self) -> None:
        while True:
            if not self._survive(self._take()):
                self._release_memory()  # not before: the traceback held it

    def _survive(self, new: list[Row]) -> bool:
        """Take a step. False if it failed, and with it all rows in progress."""
        try:
            self._step(new)
        except Exception as exc:
            log.exception("a step failed")
            for row in [*new, *(self._batch.rows if self._batch else [])]:
                row.fail(f"{type(exc).__name__}: {exc}")
            self._batch = None
            return False
        return True

    def _take(self) -> list[Row]:
        """Waiting rows that there is room for. Waits for one if none is in progress."""
        n_free = self._max_rows - (len(self._batch.rows) if self._batch else 0)
        taken: list[Row] = []
        with self._arrived:
            while not self._waiting and self._batch is None:
                if not self._arrived.wait(IDLE_SECONDS):
                    self._release_memory()
            while self._waiting and len(taken) < n_free:
                longest = max(len(row.prompt) for row in [*taken, self._waiting[0]])
                if taken and longest * (len(taken) + 1) > PREFILL_TOKENS:
                    break
                taken.append(self._waiting.popleft())
        return taken

    def _release_memory(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _step(self, new: list[Row]) -> None:
        """Process the prompts of new rows, then write a token of every row."""
        if new:
            fresh = self._read_prompts(new)
            if fresh.drop_finished():
                if self._batch is None:
                    self._batch = fresh
                else:
                    self._batch.join(fresh)
        if self._batch is not None:
            self._write_tokens(self._batch)
            if not self._batch.drop_finished():
                self._batch = None

    def _read_prompts(self, rows: list[Row]) -> Batch:
        """The caches of new rows, each with its first token."""
        width = max(len(row.prompt) for row in rows)
        mask = mask_left([len(row.prompt) for row in rows], width, self._device)
        ids = torch.tensor([[0] * (width - len(row.prompt)) + row.prompt for row in rows], device=self._device)
        batch = Batch(rows, DynamicCache())
        self._forward(batch, ids, mask, (mask.cumsum(-1) - 1).clamp(min=0))
        return batch

    def _write_tokens(self, batch: Batch) -> None:
        lengths = [row.n_cached for row in batch.rows]
        mask = mask_left([n + 1 for n in lengths], batch.width + 1, self._device)
        ids = torch.tensor([row.written[-1:] for row in batch.rows], device=self._device)
        self._forward(batch, ids, mask, torch.tensor(lengths, device=self._device)[:, None])

    def _forward(self, batch: Batch, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor) -> None:
        output = self._model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=batch.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits = output.logits[:, -1].float()
        logits[:, self._vocabulary.n_tokens :] = -torch.inf
        if any(row.matcher is not None for row in batch.rows):
            logits = forbid(logits, self._fill_masks(batch.rows))
        temperatures = torch.tensor([row.temperature for row in batch.rows], device=self._device)
        tokens = draw(logits, temperatures, self._generator).tolist()
        for row, token in zip(batch.rows, tokens, strict=True):
            row.add(token, self._vocabulary.ends)

    def _fill_masks(self, rows: list[Row]) -> torch.Tensor:
        """The tokens that each row's grammar allows next. All tokens for a row without a grammar."""
        masks = np.full((len(rows), -(-self._vocabulary.n_masked // 32)), -1, dtype=np.int32)
        bound = [(row.matcher, slot) for slot, row in enumerate(rows) if row.matcher is not None]
        llguidance.numpy.fill_next_token_bitmask_par(self._executor, bound, masks)
        for matcher, slot in bound:
            if matcher.is_error() or not masks[slot].any():
                rows[slot].fail(f"the grammar allows no token: {matcher.get_error() or matcher.stop_reason()}")
        return torch.from_numpy(masks).to(self._device)
