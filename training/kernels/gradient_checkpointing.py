"""transformers' gradient checkpointing, also where the attention is ours."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal

from pada_agent.core.errors import TrainingError
from pada_agent.training.kernels.attention_hook import attend_again, is_plain

LONG_ON_CPU = 1024
"""Tokens in a pass above which computing again costs a CPU next to nothing: keeping everything costs almost as much time."""


def choose_longest_kept(setting: bool | Literal["auto"], model: Any) -> int | None:
    """Number of tokens in a pass up to which activations are kept; None keeps those of every pass.

    Raises:
        TrainingError: the setting asks for it, and transformers cannot do it with this architecture.
    """
    if setting == "auto":
        tested = model.device.type == "cpu" and is_plain(model) and model.supports_gradient_checkpointing
        return LONG_ON_CPU if tested else None
    if setting and not model.supports_gradient_checkpointing:
        raise TrainingError(
            f"lora.gradient_checkpointing: transformers does not offer it for this student ({model.config.model_type}). Set it to"
            " false; lora.micro_batch_tokens and lora.max_length lower the memory too."
        )
    return 0 if setting else None


@contextmanager
def recompute_layers(model: Any) -> Iterator[None]:
    """Within it each layer keeps its input alone, and computes the rest once more in the backward pass.

    That happens after `attend_by` has been left, so a layer takes the attention of its first pass along; random numbers are
    those of the first pass too.
    """

    def choose_contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), attend_again(model.config)

    kind = "activation" if hasattr(model, "activation_checkpointing_enable") else "gradient"  # its older name
    getattr(model, f"{kind}_checkpointing_enable")({"use_reentrant": False, "context_fn": choose_contexts})
    model.disable_input_require_grads()  # which only the reentrant kind needs, and which would outlive this
    try:
        yield
    finally:
        getattr(model, f"{kind}_checkpointing_disable")()
