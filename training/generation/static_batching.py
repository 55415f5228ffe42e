"""Batches that any causal model of transformers can take: padded on the left, without finished rows."""

from collections.abc import Callable, Sequence

import torch
from transformers.cache_utils import DynamicCache

from pada_agent.training.generation.stopping import Row, Stops
from pada_agent.training.students import Student


def write_padded(
    student: Student, rows: Sequence[Row], stops: Stops, *, batch_size: int, on_done: Callable[[int], None]
) -> None:
    """Write all rows, grouped by length."""
    ordered = sorted(rows, key=lambda row: len(row.prompt), reverse=True)
    for first in range(0, len(ordered), batch_size):
        _write_batch(student, ordered[first : first + batch_size], stops)
        on_done(min(first + batch_size, len(ordered)))


def _write_batch(student: Student, rows: list[Row], stops: Stops) -> None:
    """Prefill once, then one token per step for the unfinished rows."""
    input_ids, mask = _left_pad([row.prompt for row in rows], student.device)
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    cache = DynamicCache(config=student.model.config)
    while True:
        output = student.model(
            input_ids=input_ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits = output.logits[:, -1]
        tokens = logits.argmax(-1)  # a NaN counts as the largest
        student.refuse_nan(logits.gather(-1, tokens[:, None]))
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


def _left_pad(prompts: list[list[int]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and mask, both (B, T). Which id pads does not matter, because of the mask."""
    width = max(map(len, prompts))
    ids = [[0] * (width - len(p)) + p for p in prompts]
    mask = [[0] * (width - len(p)) + [1] * len(p) for p in prompts]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)
