"""Students whose linear layers are kept in 4 bits (QLoRA, arXiv 2305.14314), by bitsandbytes."""

from typing import Any

import torch
from transformers import BitsAndBytesConfig
from transformers.pytorch_utils import Conv1D

from pada_agent.core.errors import ConfigError, TrainingError
from pada_agent.core.jobs import NEEDS_QLORA


def is_in_4bit(model: Any) -> bool:
    """Whether transformers loaded the model in 4 bits, or read it from such files."""
    return getattr(model, "is_loaded_in_4bit", False) is True


def make_4bit_options(device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """Options of `from_pretrained` for 4-bit weights on this device. Other weights and all matrix products use `dtype`.

    Raises:
        ConfigError: bitsandbytes is missing, or does not work on this device.
    """
    _try_bitsandbytes(device)
    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    return {"quantization_config": config, "device_map": {"": device}}


def keep_one_layout(model: Any) -> None:
    """Keep the 4-bit weights in the layout that training needs.

    On CPUs with AVX512-BF16, bitsandbytes 0.50 changes the layout at the first pass without gradients, and rounds the scales to bf16.
    Such layers then pass on no gradients, without any error.
    """
    for layer in model.modules():
        if hasattr(layer, "support_avx512bf16_for_cpu"):
            layer.support_avx512bf16_for_cpu = False


def check_4bit(model: Any, student: str, device: torch.device) -> None:
    """Refuse a model whose layers cannot be kept in 4 bits. The model needs no weights.

    Raises:
        ConfigError: bitsandbytes is missing, or does not work on this device.
        TrainingError: the layers would stay as they are.
    """
    _try_bitsandbytes(device)
    output = model.get_output_embeddings()
    linear = [m for m in model.modules() if type(m) in (torch.nn.Linear, Conv1D) and m is not output]
    experts = any("experts" in name and parameter.ndim == 3 for name, parameter in model.named_parameters())
    if experts or not linear:
        what = "the experts of a mixture" if experts else "its layers, which are not plain linear ones,"
        raise TrainingError(
            f"student.load_in: 4bit would leave {what} as they are ({student} is of the kind {model.config.model_type!r})."
            " Remove the setting, or choose another student."
        )


def _try_bitsandbytes(device: torch.device) -> None:
    try:
        from bitsandbytes import functional
    except ModuleNotFoundError as exc:
        raise ConfigError(NEEDS_QLORA) from exc
    except (ImportError, OSError, RuntimeError) as exc:
        raise ConfigError(f"student.load_in: bitsandbytes cannot be loaded ({exc}). {_ADVICE}") from exc
    try:
        functional.dequantize_4bit(*functional.quantize_4bit(torch.ones(64, device=device), quant_type="nf4"))
    except (RuntimeError, NotImplementedError, AttributeError) as exc:
        raise ConfigError(
            f"student.load_in: bitsandbytes does not work on this {device.type} device ({exc}). {_ADVICE}"
        ) from exc


_ADVICE = "`python -m bitsandbytes` says more. Remove the setting to train without 4-bit weights."
