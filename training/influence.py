"""What a row would teach the student, compared with what the student got wrong.

The loss of each row has a gradient with respect to the adapter's weights. A row whose gradient points the same way as that of a
failure lowers the failure's loss when it is trained on (LESS, arXiv 2402.04333; TRAK, arXiv 2303.14186). Unlike LESS, the
gradients are taken at one adapter and not scaled by the optimizer's state, which is not kept.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch

from pada_agent.core.errors import TrainingError
from pada_agent.core.jobs import INFLUENCE, InfluenceJob, LoraSpec
from pada_agent.core.progress import Progress
from pada_agent.core.records import Example
from pada_agent.core.selection import RowInfluence
from pada_agent.training.encoding import IGNORE_INDEX, Encoded
from pada_agent.training.predicting import apply_adapter
from pada_agent.training.students import Student

MAX_BATCH_TOKENS = {"cpu": 512, "cuda": 4096}
"""Tokens per batch, including padding."""
TARGETS_PER_PRODUCT = 256
"""Failures that candidates are compared with at once, which limits memory."""


class RowGradients(NamedTuple):
    """Losses of rows, and the directions of their gradients."""

    losses: torch.Tensor
    """(B,) mean over each row's answer tokens, in nats."""
    directions: torch.Tensor
    """(B, D) gradients of these losses, projected and scaled to length 1. A gradient of 0 stays 0."""


def measure_influence(
    student: Student,
    job: InfluenceJob,
    candidates: Sequence[Example],
    targets: Sequence[Example],
    *,
    on_progress: Callable[[Progress], None],
) -> list[RowInfluence]:
    """For each candidate, in order: its loss, and the cosine of its gradient with that of each target.

    Raises:
        TrainingError: the adapter does not fit the student, or has no LoRA layers between linear ones.
    """
    encoder = student.encode_by(job.chat)
    limit = min(job.max_length, student.context_tokens)
    spec = LoraSpec(max_length=limit, on_too_long="truncate")
    start, n_rows = time.perf_counter(), len(candidates) + len(targets)

    def report(n_done: int) -> None:
        rate = n_done / (time.perf_counter() - start)
        on_progress(Progress(stage="influence", done=n_done, total=n_rows, rate=rate, unit="rows"))

    wanted = [encoder.training_row(example, spec) for example in targets]
    offered = [encoder.training_row(example, spec) for example in candidates]
    with apply_adapter(student, Path(job.adapter)) as adapted:
        probe = GradientProbe(adapted.model, n_projections=job.n_projections, seed=job.seed)
        losses, cosines = torch.zeros(len(offered)), torch.zeros(len(offered), len(wanted))
        kept = [torch.zeros(0)] * len(wanted)
        n_done = 0
        for numbers, found in probe.read(wanted):
            for number, direction in zip(numbers, found.directions, strict=True):
                kept[number] = direction
            report(n_done := n_done + len(numbers))
        towards = torch.stack(kept) if kept else torch.zeros(0, 0)
        for numbers, found in probe.read(offered):
            losses[numbers] = found.losses.cpu()
            cosines[numbers] = _compare(found.directions, towards).cpu()
            report(n_done := n_done + len(numbers))
    return [
        RowInfluence(example_id=example.id, loss=round(loss, 4), cosines=tuple(round(c, 4) for c in row))
        for example, loss, row in zip(candidates, losses.tolist(), cosines.tolist(), strict=True)
    ]


def write_influences(folder: Path, influences: Sequence[RowInfluence]) -> None:
    """Write `INFLUENCE` into `folder`."""
    text = "".join(f"{influence.model_dump_json()}\n" for influence in influences)
    (folder / INFLUENCE).write_text(text, encoding="utf-8")


class GradientProbe:
    """Reads the gradient of each row of a batch in one backward pass.

    The gradient of a linear layer is a sum over tokens of (gradient of its output) x (its input), so a row's own share can be
    added up from its own tokens. Each side that is as wide as the model is first projected to `n_projections` random
    directions, which preserves inner products on average (Johnson and Lindenstrauss).

    Args:
        adapted: a PEFT model with LoRA layers, in evaluation mode.
        n_projections: random directions for each side. None projects nothing, and gradients are exact.
    """

    def __init__(self, adapted: Any, *, n_projections: int | None, seed: int) -> None:
        self._model = adapted
        self._layers = [
            (layer, name.endswith("lora_A.default"))
            for name, layer in adapted.named_modules()
            if name.endswith((".lora_A.default", ".lora_B.default")) and isinstance(layer, torch.nn.Linear)
        ]
        if not self._layers:
            raise TrainingError("generation.selection: influence needs an adapter with LoRA on linear layers")
        self._projections = [
            _draw_projection(_width(layer, is_first), n_projections, seed=seed + number).to(adapted.device)
            for number, (layer, is_first) in enumerate(self._layers)
        ]
        self._size = sum(
            projection.shape[1] * (layer.out_features if is_first else layer.in_features)
            for projection, (layer, is_first) in zip(self._projections, self._layers, strict=True)
        )

    def read(self, rows: Sequence[Encoded]) -> Iterator[tuple[list[int], RowGradients]]:
        """Batches of rows of similar length: their numbers, and their gradients."""
        order = sorted(range(len(rows)), key=lambda number: len(rows[number].input_ids))
        limit = MAX_BATCH_TOKENS[self._model.device.type]
        batch: list[int] = []
        for number in order:
            if batch and (len(batch) + 1) * len(rows[number].input_ids) > limit:
                yield batch, self.read_batch([rows[i] for i in batch])
                batch = []
            batch.append(number)
        if batch:
            yield batch, self.read_batch([rows[i] for i in batch])

    def read_batch(self, rows: Sequence[Encoded]) -> RowGradients:
        """The gradients of rows that fit into memory together."""
        device = self._model.device
        token_ids, labels = _pad([r.input_ids for r in rows], 0), _pad([r.labels for r in rows], IGNORE_INDEX)
        mask = _pad([[1] * len(r.input_ids) for r in rows], 0)
        gradients = torch.zeros(len(rows), self._size, device=device)
        with torch.enable_grad(), self._collect(gradients):
            logits = self._model(input_ids=token_ids.to(device), attention_mask=mask.to(device), use_cache=False).logits
            losses = _mean_losses(logits, labels.to(device))
            losses.sum().backward()  # type: ignore[no-untyped-call]
        self._model.zero_grad(set_to_none=True)
        lengths = gradients.norm(dim=1, keepdim=True)
        return RowGradients(losses.detach().float(), gradients / lengths.clamp_min(torch.finfo(torch.float32).tiny))

    @contextmanager
    def _collect(self, gradients: torch.Tensor) -> Iterator[None]:
        """While it is open, a backward pass adds each row's gradients to its line of `gradients`."""
        for parameter in (layer.weight for layer, _ in self._layers):
            parameter.requires_grad_(True)
        hooks, start = [], 0
        for (layer, is_first), projection in zip(self._layers, self._projections, strict=True):
            width = projection.shape[1] * (layer.out_features if is_first else layer.in_features)
            part = gradients[:, start : start + width]
            hooks.append(layer.register_forward_hook(_make_hook(part, projection, is_first=is_first)))
            start += width
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()
            for layer, _ in self._layers:
                layer.weight.requires_grad_(False)


def _make_hook(part: torch.Tensor, projection: torch.Tensor, *, is_first: bool) -> Callable[..., None]:
    """A forward hook that adds a layer's gradients to `part` during the backward pass."""

    def watch(_: Any, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        given = inputs[0].detach()

        def add(gradient: torch.Tensor) -> None:
            left, right = gradient.float(), given.float()  # (B, T, out) and (B, T, in)
            if is_first:
                right = right @ projection
            else:
                left = left @ projection
            part.add_(torch.einsum("bto,bti->boi", left, right).flatten(1))

        if output.requires_grad:
            output.register_hook(add)  # type: ignore[no-untyped-call]

    return watch


def _width(layer: torch.nn.Linear, is_first: bool) -> int:
    """Width of the side that is as wide as the model."""
    return layer.in_features if is_first else layer.out_features


def _draw_projection(width: int, n: int | None, *, seed: int) -> torch.Tensor:
    """(width, n) random signs, scaled so that inner products are kept on average; the identity if there is nothing to reduce."""
    if n is None or n >= width:
        return torch.eye(width)
    signs = torch.randint(0, 2, (width, n), generator=torch.Generator().manual_seed(seed))
    return (2.0 * signs - 1.0) / math.sqrt(n)


def _pad(rows: Sequence[Sequence[int]], value: int) -> torch.Tensor:
    """(B, T) with `value` after shorter rows."""
    return torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=value)


def _mean_losses(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """(B,) mean negative log-likelihood of each row's labeled tokens."""
    targets = labels[:, 1:]
    places = targets != IGNORE_INDEX
    tokens = torch.nn.functional.cross_entropy(logits[:, :-1][places].float(), targets[places], reduction="none")
    owners = torch.arange(len(labels), device=labels.device)[:, None].expand_as(places)[places]
    sums = torch.zeros(len(labels), device=tokens.device).index_add(0, owners, tokens)
    return sums / places.sum(dim=1)


def _compare(directions: torch.Tensor, towards: torch.Tensor) -> torch.Tensor:
    """(B, N) cosines."""
    blocks: Sequence[torch.Tensor] = torch.split(towards, TARGETS_PER_PRODUCT)
    return torch.cat([directions @ block.T for block in blocks], dim=1) if len(towards) else directions[:, :0]
