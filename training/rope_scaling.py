"""What a GGUF file says about rotary embeddings and transformers does not read: their base, their width, and how they are scaled."""

import copy
from pathlib import Path
from typing import Any

import gguf
import torch
from gguf.quants import dequantize
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from pada_agent.core.errors import TrainingError

READ_BY_TRANSFORMERS = ("gpt-oss",)
"""Architectures whose scaling transformers reads itself."""
LLAMA3 = {
    "rope_type": "llama3",
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
"""The same for all models of Llama 3.1 and later. A file has only the factors that follow from them."""


def complete_rope(config: Any, reader: gguf.GGUFReader, file: Path) -> None:
    """Put what `file`, which `reader` has read, says into the rope parameters that transformers made of it.

    Raises:
        TrainingError: transformers has no formula for this scaling.
    """
    architecture = str(reader.fields[gguf.Keys.General.ARCHITECTURE].contents())
    if architecture in READ_BY_TRANSFORMERS:
        return
    _set_angles(config, reader, architecture)
    _add_scaling(config, reader, architecture, file)


def _set_angles(config: Any, reader: gguf.GGUFReader, architecture: str) -> None:
    """Base and width. For some architectures (StarCoder 2, StableLM, Nemotron), transformers takes those of its own first model."""
    rope = _read_rope(config)
    base = reader.fields.get(f"{architecture}.rope.freq_base")
    width = reader.fields.get(f"{architecture}.rope.dimension_count")
    if "rope_theta" not in rope:
        return
    if base:
        rope = {**rope, "rope_theta": float(base.contents())}
    if width and "partial_rotary_factor" in rope:
        whole = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        rope = {**rope, "partial_rotary_factor": int(width.contents()) / whole}
    config.rope_parameters = rope


def _add_scaling(config: Any, reader: gguf.GGUFReader, architecture: str, file: Path) -> None:
    factors = {
        tensor.name: tensor for tensor in reader.tensors if tensor.name.startswith(("rope_freqs", "rope_factors"))
    }
    named = _read_named(reader, architecture)
    if not factors and not named:
        return
    scaling = None
    if not named:
        scaling = _fit_llama3(config, factors)
    elif not factors:
        scaling = _translate(named)
    if scaling is None or not _set(config, scaling):
        what = ", ".join([*factors, *(f"rope.scaling.{name}: {value}" for name, value in named.items())])
        raise TrainingError(
            f"student file {file} scales its rotary embeddings in a way that cannot be read from a GGUF here ({what})."
            " Set student.model to the safetensors model that it was made from."
        )


def _read_named(reader: gguf.GGUFReader, architecture: str) -> dict[str, Any]:
    """The settings of a scaling by name. Empty if they scale nothing."""
    prefix = f"{architecture}.rope.scaling."
    found = {n.removeprefix(prefix): f.contents() for n, f in reader.fields.items() if n.startswith(prefix)}
    if old := reader.fields.get(f"{architecture}.rope.scale_linear"):
        found.setdefault("factor", old.contents())
    found.pop("finetuned", None)
    scales = found.get("factor", 1) not in (0, 1) or found.keys() - {"type", "factor", "original_context_length"}
    return found if scales and found.get("type") != "none" else {}


def _translate(named: dict[str, Any]) -> dict[str, Any] | None:
    """Rope parameters of transformers. None if it has no such scaling."""
    kind, factor = named.get("type", "linear"), named.get("factor")
    original = named.get("original_context_length")
    if not factor or named.keys() - {"type", "factor", "original_context_length"}:
        return None
    if kind == "linear":
        return {"rope_type": "linear", "factor": factor}
    if kind == "yarn" and original:
        return {"rope_type": "yarn", "factor": factor, "original_max_position_embeddings": original}
    return None


def _fit_llama3(config: Any, tensors: dict[str, Any]) -> dict[str, Any] | None:
    """The rope parameters from which Llama 3's formula computes these factors. None if there are none."""
    rope = _read_rope(config)
    if tensors.keys() != {"rope_freqs.weight"} or "rope_theta" not in rope:
        return None
    (tensor,) = tensors.values()
    factors = torch.tensor(dequantize(tensor.data, tensor.tensor_type))
    scaling = {**LLAMA3, "factor": float(factors.max())}
    scaled = copy.deepcopy(config)
    scaled.rope_parameters = {**rope, **scaling}
    computed, _ = ROPE_INIT_FUNCTIONS["llama3"](scaled, torch.device("cpu"))
    n = len(factors)
    plain = rope["rope_theta"] ** -(torch.arange(n) / n)
    same = computed.shape == plain.shape and torch.allclose(plain / factors, computed, rtol=1e-4, atol=0)
    return scaling if same else None


def _set(config: Any, scaling: dict[str, Any]) -> bool:
    """Whether it is known which layers the scaling is for. Of Gemma 3, those that attend to the whole text."""
    rope = _read_rope(config)
    if "rope_theta" in rope:
        config.rope_parameters = {**rope, **scaling}
    elif config.model_type == "gemma3_text":
        config.rope_parameters = {**rope, "full_attention": {**rope["full_attention"], **scaling}}
    else:
        return False
    return True


def _read_rope(config: Any) -> dict[str, Any]:
    """Empty if the model has no rotary embeddings."""
    return getattr(config, "rope_parameters", None) or {}
