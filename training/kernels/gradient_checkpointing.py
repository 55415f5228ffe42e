"""Gradient checkpointing by transformers, which also works with our attention."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal

from pada_agent.core.errors import TrainingError
from pada_agent.training.kernels.attention_hook import attend_again, is_plain

LONG_ON_CPU = 1024
"""Above this many tokens in a pass, recomputing takes hardly longer on a CPU than keeping everything."""


def choose_longest_kept(setting: bool | Literal["auto"], model: Any) -> int | None:
    """Number of tokens in a pass up to which activations are kept. None always keeps them.

    Raises:
        TrainingError: the setting asks for checkpointing, but transformers does not offer it for this architecture.
    """
    if setting == "auto":
        tested = model.device.type == "cpu" and is_plain(model) and model.supports_gradient_checkpointing
        return LONG_ON_CPU if tested else None
    if setting and not model.supports_gradient_checkpointing:
        raise TrainingError(
            f"lora.gradient_checkpointing: transformers does not offer it for this student ({model.config.model_type}). Set it to"
            " false; a lower lora.micro_batch_tokens or lora.max_length saves memory too."
        )
    return 0 if setting else None


@contextmanager
def recompute_layers(model: Any) -> Iterator[None]:
    """In this context, each layer keeps only its input, and computes the rest again in the backward pass.

    By then `attend_by` has ended, so a layer remembers the attention of its first pass. Random numbers are also those of the
    first pass.
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
