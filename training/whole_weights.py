"""Loads a model with all of its weights. transformers alone would draw missing ones at random and leave unused ones out."""

import re
from collections.abc import Set
from pathlib import Path
from typing import Any

import gguf
from transformers import AutoModelForCausalLM

from pada_agent.core.errors import TrainingError
from pada_agent.core.model_files import explain_prefix

CONSTANTS = re.compile(
    r"\b(attn|attention)\.bias$|\.(masked_bias|causal_mask|inv_freq)$|\.(cos|sin)_cached$|decoder\.version$"
)
"""What older versions of transformers saved beside the weights: attention masks, angles and the like."""
_LAYER = re.compile(r"\blayers\.(\d+)\.")
_BLOCK = re.compile(r"blk\.(\d+)\.")
_ANGLES = ("rope_freqs", "rope_factors")
"""Begin the names of tables in GGUF files that are no weights."""


def load_whole(name: str, source: str, **options: Any) -> Any:
    """The causal language model at `source`, which messages call `name`. `options` are those of `from_pretrained`.

    A part of its own that the model does not have, such as the value head of a reward model, may stay unused.

    Raises:
        TrainingError: other weights are unused, or some are missing or of another shape. Says how many, and names the first ones and
            the likely cause.
    """
    model, found = AutoModelForCausalLM.from_pretrained(
        source, trust_remote_code=False, output_loading_info=True, ignore_mismatched_sizes=True, **options
    )
    missing, shapes = set(found["missing_keys"]), sorted(found["mismatched_keys"])
    unused = _list_unused(model, set(found["unexpected_keys"]))
    if missing or shapes or unused & _list_own(model, unused):
        counts = [
            _count("missing", sorted(missing)),
            _count("unused", sorted(unused)),
            _count(
                "of another shape", [f"{key}: {tuple(one)} instead of {tuple(other)}" for key, one, other in shapes]
            ),
        ]
        raise TrainingError(
            f"student {name!r}: its weights do not fit its configuration: {', '.join(filter(None, counts))}."
            f" {_tell_cause(name, missing, unused)}"
        )
    return model


def refuse_left_out(model: Any, reader: gguf.GGUFReader, file: Path) -> None:
    """Refuse a GGUF file with more weights than the model that transformers made of it, which passes over those that it does not know.

    Such are the biases of Granite's code models, because a Llama usually has none.

    Raises:
        TrainingError: names the first one.
    """
    config = model.config.get_text_config(decoder=True)
    n_layers = config.num_hidden_layers
    weights = [tensor for tensor in reader.tensors if not _is_beside(tensor.name, n_layers, config.tie_word_embeddings)]
    own = {value.data_ptr(): value.numel() for value in model.state_dict().values()}  # tied ones once
    n_left_out = sum(int(tensor.n_elements) for tensor in weights) - sum(own.values())
    if n_left_out <= 0:
        return
    architecture = str(reader.fields[gguf.Keys.General.ARCHITECTURE].contents())
    kinds = {name: kind for kind, name in gguf.MODEL_ARCH_NAMES.items()}
    named = gguf.get_tensor_name_map(kinds[architecture], n_layers)
    known = {named.get_name(name, try_suffixes=(".weight", ".bias")) for name in model.state_dict()}
    first = next((tensor.name for tensor in weights if tensor.name not in known), "of some tensor")
    raise TrainingError(
        f"student file {file} has {n_left_out:,} weights that transformers does not read from a GGUF of the architecture"
        f" {architecture} ({first}), so the model would answer wrongly. Set student.model to the safetensors model that it was"
        " made from."
    )


def _is_beside(name: str, n_layers: int, is_tied: bool) -> bool:
    """Whether a tensor is no weight, a copy of another, or of a layer that predicts further tokens."""
    block = _BLOCK.match(name)
    return (
        name.startswith(_ANGLES)
        or (is_tied and name == "output.weight")
        or (block is not None and int(block[1]) >= n_layers)
    )


def _list_unused(model: Any, unexpected: Set[str]) -> Set[str]:
    """Which further numbers a quantized file contains is known to its quantizer alone."""
    if getattr(getattr(model, "hf_quantizer", None), "pre_quantized", False):
        return set()
    buffers = {name for name, _ in model.named_buffers()}
    left = {key for key in unexpected - buffers if not CONSTANTS.search(key)}
    return {key for key in left if not _is_beyond(key, model.config)}


def _is_beyond(key: str, config: Any) -> bool:
    """Whether the weight is of a layer that predicts further tokens (DeepSeek-V3, GLM-4.5), which no model here uses."""
    found, first = _LAYER.search(key), getattr(config, "num_hidden_layers", 0)
    return found is not None and 0 <= int(found[1]) - first < (getattr(config, "num_nextn_predict_layers", None) or 0)


def _list_own(model: Any, keys: Set[str]) -> Set[str]:
    """Those that belong to a part which the model has. They may lack the name of the part around all layers."""
    parts = {name for root in (model, model.base_model) for name, _ in root.named_children()}
    return {key for key in keys if key.partition(".")[0] in parts}


def _count(what: str, found: list[str]) -> str:
    return f"{len(found)} {what} ({found[0]})" if found else ""


def _tell_cause(name: str, missing: Set[str], unused: Set[str]) -> str:
    prefixes = {key.removesuffix(other) for key in unused for other in missing if key.endswith(f".{other}")}
    if prefixes:
        return explain_prefix(min(prefixes))
    if name.endswith(".gguf"):
        return "The file is not complete, or is one part of several: fetch it again, or join the parts with `llama-gguf-split --merge`."
    if missing and not unused:
        return "Its files are not complete: fetch or save the model again, or correct its config.json."
    return "Give it the config.json that belongs to these weights."
