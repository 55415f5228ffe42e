"""PEFT's LoRA layer with fewer passes over memory and a cheaper dropout mask.

The layers remain PEFT's, with their weights and format; only their computation in a training step is ours. On a bf16 base,
the matrix products of the fp32 adapter are in bf16, as under autocast.
"""

from functools import partial
from typing import Any

import torch
from peft.tuners.lora import Linear

LEVELS = 2**16
"""A 16-bit draw decides about each input, so the dropout probability is exact to 0.000008."""


def speed_up(adapted: Any) -> None:
    """Give the plain LoRA layers our forward pass; all others keep theirs."""
    for layer in adapted.modules():
        if isinstance(layer, Linear) and _is_plain(layer):
            layer.forward = partial(_forward, layer)


def _is_plain(layer: Any) -> bool:
    base = layer.base_layer
    return (
        type(base) is torch.nn.Linear
        and base.weight.dtype in (torch.float32, torch.bfloat16)
        and layer.active_adapters == ["default"]
        and not layer.use_dora.get("default")
        and not layer.lora_bias.get("default")
        and not getattr(layer, "lora_variant", {}).get("default")
    )


def _forward(layer: Any, x: torch.Tensor) -> torch.Tensor:
    """As PEFT: base(x) + scaling * B(A(dropout(x)))."""
    dropout = layer.lora_dropout["default"]
    share = dropout.p if layer.training and isinstance(dropout, torch.nn.Dropout) else 0.0
    out: torch.Tensor = _LoraLinear.apply(  # type: ignore[no-untyped-call]
        x,
        layer.base_layer.weight,
        layer.base_layer.bias,
        layer.lora_A["default"].weight,
        layer.lora_B["default"].weight,
        layer.scaling["default"] / (1 - share),
        share,
    )
    return out


def draw_mask(x: torch.Tensor, share: float) -> torch.Tensor:
    """Shaped like `x`: 0 with probability `share`, otherwise 1. On CPU, one 64-bit draw serves four values."""
    if x.is_cuda:
        return torch.empty_like(x).bernoulli_(1 - share)
    n = x.numel()
    draws = torch.empty(-(-n // 4), dtype=torch.int64).random_(-(2**63), None).view(torch.int16)[:n]
    return (draws >= round(share * LEVELS) - LEVELS // 2).to(x.dtype).view_as(x)


def _add_low(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, low: torch.Tensor, b: torch.Tensor, scale: float
) -> torch.Tensor:
    """The layer's output from its input (..., in) and the product of A, (N, rank)."""
    out = torch.nn.functional.linear(x, weight, bias)
    out.view(-1, out.shape[-1]).addmm_(low, b.T, alpha=scale)
    return out


torch.library.custom_op("pada::add_low", _add_low, mutates_args=())
ADD_LOW = torch.ops.pada.add_low.default
"""`_add_low` as one operator of torch, so that gradient checkpointing can keep what it gives."""


class _LoraLinear(torch.autograd.Function):
    """(..., in) to (..., out). Base weight and bias are frozen."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        a: torch.Tensor,
        b: torch.Tensor,
        scale: float,
        share: float,
    ) -> torch.Tensor:
        flat = x.reshape(-1, x.shape[-1])
        ctx.dtype = a.dtype
        a, b = a.to(x.dtype), b.to(x.dtype)
        mask = draw_mask(flat, share) if share else None
        kept = flat if mask is None else flat * mask
        low = kept @ a.T
        out: torch.Tensor = (_add_low if x.is_cuda else ADD_LOW)(x, weight, bias, low, b, scale)
        ctx.save_for_backward(weight, a, b, kept, low, mask)
        ctx.scale = scale
        return out

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        weight, a, b, kept, low, mask = ctx.saved_tensors
        grad = grads[0].reshape(-1, grads[0].shape[-1])
        grad_low = (grad @ b).mul_(ctx.scale)
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = grad @ weight
            if mask is None:
                grad_x.addmm_(grad_low, a)
            else:
                grad_x.addcmul_(grad_low @ a, mask)
            grad_x = grad_x.view(*grads[0].shape[:-1], -1)
        grad_a, grad_b = grad_low.T @ kept, (grad.T @ low).mul_(ctx.scale)
        return grad_x, None, None, grad_a.to(ctx.dtype), grad_b.to(ctx.dtype), None, None
