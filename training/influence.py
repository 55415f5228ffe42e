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

from pada_agent.core.errors import DatasetError, TrainingError
from pada_agent.core.jobs import InfluenceJob, LoraSpec
from pada_agent.core.progress import Progress
from pada_agent.core.records import Example
from pada_agent.core.selection import RowInfluence
from pada_agent.training.encoding import IGNORE_INDEX, ChatEncoder, Encoded
from pada_agent.training.kernels.attention_hook import count_unstretched
from pada_agent.training.lora import let_go_of_graphs
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
    """(B, D) gradients of these losses, projected and scaled to length 1. Gradients of 0, and those that are not finite, become 0."""


def measure_influence(
    student: Student,
    job: InfluenceJob,
    candidates: Sequence[Example],
    targets: Sequence[Example],
    *,
    on_progress: Callable[[Progress], None],
) -> list[RowInfluence]:
    """For each candidate, in order: its loss, and the cosine of its gradient with that of each target.

    Without targets, only losses are measured, which takes no backward pass. A target that cannot be learned, because its answer is
    empty or does not fit, has a cosine of 0 with every candidate.

    Raises:
        DatasetError: a candidate is empty or does not fit.
        TrainingError: the adapter does not fit the student, or has no LoRA on layers whose gradients can be read; no candidate has a
            finite loss; or no target has a direction.
    """
    encoder = student.encode_by(job.chat)
    limit = min(job.max_length, student.context_tokens)
    spec = LoraSpec(max_length=limit, on_too_long="truncate")
    start, n_rows = time.perf_counter(), len(candidates) + len(targets)

    def report(n_done: int) -> None:
        rate = n_done / (time.perf_counter() - start)
        on_progress(Progress(stage="influence", done=n_done, total=n_rows, rate=rate, unit="rows"))

    wanted = {i: row for i, example in enumerate(targets) if (row := _encode_target(encoder, example, spec))}
    offered = [encoder.training_row(example, spec) for example in candidates]
    cosines = torch.zeros(len(offered), len(targets))
    with _recording(student, job, with_gradients=bool(targets)) as recorder:
        n_unusable = len(targets) - len(wanted)
        towards = _read_directions(recorder, list(wanted.values()), lambda n: report(n_unusable + n))
        if targets and not bool(towards.any()):
            raise TrainingError(
                f"generation.selection: rows cannot be compared with failures, because none of the {len(targets)} failures has a"
                f" gradient at adapter {job.adapter} (right answers that are empty or longer than lora.max_length, or losses that"
                " are not finite). Choose another generation.selection, such as random."
            )
        losses, found = _compare_rows(recorder, offered, towards, lambda n: report(len(targets) + n))
    cosines[:, torch.tensor(list(wanted), dtype=torch.long)] = found
    if offered and not losses.isfinite().any():
        raise TrainingError(
            f"generation.selection: the student's loss at adapter {job.adapter} is not finite on any of the {len(offered)} rows to"
            " choose from. Choose random, or lower lora.learning_rate."
        )
    return [
        RowInfluence(
            example_id=example.id,
            loss=round(loss, 4) if math.isfinite(loss) else None,
            cosines=tuple(round(c, 4) for c in row),
        )
        for example, loss, row in zip(candidates, losses.tolist(), cosines.tolist(), strict=True)
    ]


def _read_directions(recorder: "LossRecorder", rows: Sequence[Encoded], report: Callable[[int], None]) -> torch.Tensor:
    """(N, D) directions of the rows' gradients. Reports how many rows are read."""
    directions, n_read = [torch.zeros(0)] * len(rows), 0
    for numbers, found in recorder.read(rows):
        for number, direction in zip(numbers, found.directions, strict=True):
            directions[number] = direction
        report(n_read := n_read + len(numbers))
    return torch.stack(directions) if directions else torch.zeros(0, 0)


def _compare_rows(
    recorder: "LossRecorder", rows: Sequence[Encoded], towards: torch.Tensor, report: Callable[[int], None]
) -> tuple[torch.Tensor, torch.Tensor]:
    """(B,) losses of the rows, and (B, N) cosines with the directions `towards`. Reports how many rows are read."""
    losses, cosines, n_read = torch.zeros(len(rows)), torch.zeros(len(rows), len(towards)), 0
    for numbers, found in recorder.read(rows):
        losses[numbers] = found.losses.cpu()
        cosines[numbers] = _compare(found.directions, towards).cpu()
        report(n_read := n_read + len(numbers))
    return losses, cosines


@contextmanager
def _recording(student: Student, job: InfluenceJob, *, with_gradients: bool) -> Iterator["LossRecorder"]:
    """What reads the rows with the job's adapter. Afterwards, the student is as before."""
    try:
        with apply_adapter(student, Path(job.adapter)) as adapted:
            if with_gradients:
                yield GradientRecorder(adapted.model, n_projections=job.n_projections, seed=job.seed)
            else:
                yield LossRecorder(adapted.model)
    finally:
        let_go_of_graphs(student.model)


def _encode_target(encoder: ChatEncoder, example: Example, spec: LoraSpec) -> Encoded | None:
    """None if it cannot be learned. Validation rows are not trained on, so nothing has checked that they can."""
    try:
        return encoder.training_row(example, spec)
    except DatasetError:
        return None


class LossRecorder:
    """Reads the loss of each row of a batch.

    Args:
        adapted: a PEFT model in evaluation mode.
    """

    def __init__(self, adapted: Any) -> None:
        self._model = adapted

    def read(self, rows: Sequence[Encoded]) -> Iterator[tuple[list[int], RowGradients]]:
        """Batches of rows of similar length: their numbers, and what was read."""
        lengths = [len(row.input_ids) for row in rows]
        limit, n_unstretched = MAX_BATCH_TOKENS[self._model.device.type], count_unstretched(self._model)
        batch: list[int] = []
        for number in sorted(range(len(rows)), key=lambda number: lengths[number]):
            n = lengths[number]
            if batch and ((len(batch) + 1) * n > limit or (n > n_unstretched and n > lengths[batch[0]])):
                yield batch, self.read_batch([rows[i] for i in batch])
                batch = []
            batch.append(number)
        if batch:
            yield batch, self.read_batch([rows[i] for i in batch])

    @torch.no_grad()
    def read_batch(self, rows: Sequence[Encoded]) -> RowGradients:
        """The losses of rows that fit into memory together, without directions."""
        losses = self._measure(rows)
        return RowGradients(losses.float(), torch.zeros(len(rows), 0, device=losses.device))

    def _measure(self, rows: Sequence[Encoded]) -> torch.Tensor:
        """(B,) losses."""
        device = self._model.device
        token_ids, labels = _pad([r.input_ids for r in rows], 0), _pad([r.labels for r in rows], IGNORE_INDEX)
        mask = _pad([[1] * len(r.input_ids) for r in rows], 0)
        logits = self._model(input_ids=token_ids.to(device), attention_mask=mask.to(device), use_cache=False).logits
        return _mean_losses(logits, labels.to(device))


class GradientRecorder(LossRecorder):
    """Reads the gradient of each row of a batch in one backward pass.

    The gradient of a linear layer is a sum over tokens of (gradient of its output) x (its input), so a row's own share can be
    added up from its own tokens. Each side that is as wide as the model is first projected to `n_projections` random
    directions, which preserves inner products on average (Johnson and Lindenstrauss).

    Args:
        adapted: a PEFT model with LoRA layers, in evaluation mode.
        n_projections: random directions for each side. None projects nothing, and gradients are exact.
    """

    def __init__(self, adapted: Any, *, n_projections: int | None, seed: int) -> None:
        super().__init__(adapted)
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

    def read_batch(self, rows: Sequence[Encoded]) -> RowGradients:
        """Losses and gradients of rows that fit into memory together."""
        gradients = torch.zeros(len(rows), self._size, device=self._model.device)
        with torch.enable_grad(), self._collect(gradients, max(len(row.input_ids) for row in rows)):
            losses = self._measure(rows)
            losses.sum().backward()  # type: ignore[no-untyped-call]
        self._model.zero_grad(set_to_none=True)
        lengths = gradients.norm(dim=1, keepdim=True)
        is_usable = lengths.isfinite() & (lengths > 0) & losses.detach().isfinite()[:, None]
        return RowGradients(losses.detach().float(), torch.where(is_usable, gradients / lengths, 0.0))

    @contextmanager
    def _collect(self, gradients: torch.Tensor, n_tokens: int) -> Iterator[None]:
        """While it is open, a backward pass adds each row's gradients to its line of `gradients`. Rows have `n_tokens`, with padding."""
        for parameter in (layer.weight for layer, _ in self._layers):
            parameter.requires_grad_(True)
        hooks, start = [], 0
        for (layer, is_first), projection in zip(self._layers, self._projections, strict=True):
            width = projection.shape[1] * (layer.out_features if is_first else layer.in_features)
            part = gradients[:, start : start + width]
            hooks.append(layer.register_forward_hook(_make_hook(part, projection, n_tokens, is_first=is_first)))
            start += width
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()
            for layer, _ in self._layers:
                layer.weight.requires_grad_(False)


def _make_hook(part: torch.Tensor, projection: torch.Tensor, n_tokens: int, *, is_first: bool) -> Callable[..., None]:
    """A forward hook that adds a layer's gradients to `part` during the backward pass.

    Some students join the batch's rows before a layer, which then has inputs of (B·T, in).
    """

    def watch(_: Any, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        given = inputs[0].detach()

        def add(gradient: torch.Tensor) -> None:
            if gradient[..., 0].numel() != len(part) * n_tokens:
                raise TrainingError(_CANNOT_TELL_APART)
            left, right = (x.float().reshape(len(part), n_tokens, -1) for x in (gradient, given))
            if is_first:
                right = right @ projection
            else:
                left = left @ projection
            part.add_(torch.einsum("bto,bti->boi", left, right).flatten(1))

        if output.requires_grad:
            output.register_hook(add)  # type: ignore[no-untyped-call]

    return watch


_CANNOT_TELL_APART = (
    "generation.selection: influence needs LoRA on layers that see all tokens of a row, and experts of a mixture see only some. Choose"
    " another generation.selection, or leave the experts out of lora.target_modules."
)


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
