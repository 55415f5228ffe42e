"""Gradient checkpointing by transformers, which also works with our attention."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch.utils.checkpoint import create_selective_checkpoint_contexts

from pada_agent.core.errors import TrainingError
from pada_agent.training.kernels.attention_hook import attend_again, is_plain
from pada_agent.training.kernels.lora_linear import ADD_LOW

LONG_ON_CPU = 1024
"""On a CPU, longer passes keep only what matrix products and attention give."""
VERY_LONG_ON_CPU = 2048
"""On a CPU, longer passes keep only the inputs of layers."""

_aten = torch.ops.aten
_PRODUCTS = [
    ADD_LOW,
    _aten.mm.default,
    _aten.addmm.default,
    _aten._scaled_dot_product_flash_attention_for_cpu.default,
]


@dataclass(frozen=True)
class Checkpointing:
    """When activations are computed again in the backward pass."""

    keep_all: int
    """Passes of up to this many tokens keep all activations."""
    keep_products: int
    """Longer ones, of up to this many tokens, keep what matrix products and attention give; even longer ones only each layer's input."""

    def around(self, adapted: Any, n_tokens: int) -> AbstractContextManager[None]:
        """The context for the adapted model's forward and backward pass of this many tokens."""
        if n_tokens <= self.keep_all:
            return nullcontext()
        return recompute_layers(adapted.get_base_model(), keep_products=n_tokens <= self.keep_products)


KEEP_ALL = Checkpointing(keep_all=2**63, keep_products=2**63)
KEEP_INPUTS = Checkpointing(keep_all=0, keep_products=0)


def choose_checkpointing(setting: bool | Literal["auto"], model: Any, longest_pass: int) -> Checkpointing:
    """What `lora.gradient_checkpointing` means for this model and passes of up to `longest_pass` tokens.

    Raises:
        TrainingError: the setting asks for checkpointing, but transformers does not offer it for this architecture.
    """
    if setting == "auto":
        tested = model.device.type == "cpu" and is_plain(model) and model.supports_gradient_checkpointing
        if not tested or longest_pass <= LONG_ON_CPU:
            return KEEP_ALL
        return Checkpointing(LONG_ON_CPU, VERY_LONG_ON_CPU if _leaves_products_alone(model) else 0)
    if setting and not model.supports_gradient_checkpointing:
        raise TrainingError(
            f"lora.gradient_checkpointing: transformers does not offer it for this student ({model.config.model_type}). Set it to"
            " false; a lower lora.micro_batch_tokens or lora.max_length saves memory too."
        )
    return KEEP_INPUTS if setting else KEEP_ALL


def _leaves_products_alone(model: Any) -> bool:
    """Whether no layer changes in place what a product gave, tried with two tokens. Random numbers and gradients stay as they are."""
    before = torch.get_rng_state()
    try:
        with recompute_layers(model, keep_products=True):
            model(input_ids=torch.zeros(1, 2, dtype=torch.long), use_cache=False).logits.sum().backward()
    except RuntimeError:
        return False
    finally:
        model.zero_grad()
        torch.set_rng_state(before)
    return True


@contextmanager
def recompute_layers(model: Any, *, keep_products: bool) -> Iterator[None]:
    """In this context, each layer keeps only its input, and perhaps its products, and computes the rest again in the backward pass.

    By then `attend_by` has ended, so a layer remembers the attention of its first pass. Random numbers are also those of the
    first pass.
    """

    def choose_contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        attend = attend_again(model.config)
        if not keep_products:
            return nullcontext(), attend
        keeping, kept = create_selective_checkpoint_contexts(_PRODUCTS)  # type: ignore[no-untyped-call]
        return keeping, _enter_both(attend, kept)

    kind = "activation" if hasattr(model, "activation_checkpointing_enable") else "gradient"  # its older name
    getattr(model, f"{kind}_checkpointing_enable")({"use_reentrant": False, "context_fn": choose_contexts})
    model.disable_input_require_grads()  # which only the reentrant kind needs, and which would outlive this
    try:
        yield
    finally:
        getattr(model, f"{kind}_checkpointing_disable")()


@contextmanager
def _enter_both(first: AbstractContextManager[None], second: AbstractContextManager[None]) -> Iterator[None]:
    with first, second:
        yield
