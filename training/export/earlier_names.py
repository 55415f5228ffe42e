"""Adds to a written model what programs read that do not know the names of transformers 5, and files that its student has beside the weights.

Without the base of the rotary embeddings under its earlier name, they would silently compute with 10,000. A tokenizer of a class that they
do not know, or with its further special tokens as a list, they do not load. Nor does vLLM load a model that reads images too without the
settings for them.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pada_agent.training.students import Student
from pada_agent.training.tokenizer_files import CORRECTED, FILE, find_file

SENTENCEPIECE = "tokenizer.model"
"""What llama.cpp's converter reads of the vocabularies of Gemma and others."""

PROCESSORS = ("preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json")
"""Settings for images and sound."""

_NEOX = {"rope_theta": "rotary_emb_base", "partial_rotary_factor": "rotary_pct"}
_OWN_NAMES = {
    "gpt_neox": _NEOX,
    "gpt_neox_japanese": _NEOX,
    "modernbert-decoder": {"rope_theta": "global_rope_theta", "rope_local_base_freq": "local_rope_theta"},
}
"""Earlier names that only these have, by model type and the name that others have."""
_SCALED_IN_WHOLE = frozenset({"gemma3_text", "gemma3n_text", "olmo3"})
"""Models with several kinds of layers whose scaling was only ever that of the layers that attend to the whole text."""
_COUNTED = {
    "phi3": frozenset({"rope_type", "original_max_position_embeddings", "partial_rotary_factor"}),
    "phimoe": frozenset({"rope_type", "partial_rotary_factor"}),
}
"""What these leave out of their scaling, by model type: transformers 4 refuses one with more names than it knows."""


def add_earlier_names(folder: Path, student: Student) -> None:
    """Add them to the folder of a model that was made from `student`."""
    _change(folder / "config.json", _name_as_before)
    _change(folder / "tokenizer_config.json", _name_tokenizer_as_before)
    _copy_processors(folder, student)
    if found := find_file(student.source, SENTENCEPIECE, student.revision):
        shutil.copyfile(found, folder / SENTENCEPIECE)
        added = _read_added(folder / FILE)
        _change(folder / "tokenizer_config.json", lambda settings: {"added_tokens_decoder": added, **settings})


def _copy_processors(folder: Path, student: Student) -> None:
    if "text_config" not in json.loads((folder / "config.json").read_text(encoding="utf-8")):
        return  # it reads text alone
    for name in PROCESSORS:
        if found := find_file(student.source, name, student.revision):
            shutil.copyfile(found, folder / name)


def _read_added(file: Path) -> dict[str, Any]:
    """Tokens beside the vocabulary, by number. Where llama.cpp's converter reads `tokenizer.model`, it knows no others."""
    tokens = json.loads(file.read_text(encoding="utf-8"))["added_tokens"] if file.is_file() else []
    return {str(token["id"]): {name: value for name, value in token.items() if name != "id"} for token in tokens}


def _change(file: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    settings = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(change(settings), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _name_as_before(config: dict[str, Any]) -> dict[str, Any]:
    """A model's settings, also those of its parts."""
    named = {name: _name_as_before(value) if isinstance(value, dict) else value for name, value in config.items()}
    if "dtype" in named:
        named.setdefault("torch_dtype", named["dtype"])
    rope = config.get("rope_parameters") or {}
    whole, window = rope.get("full_attention") or rope, rope.get("sliding_attention") or {}
    earlier = {"rope_theta": whole.get("rope_theta"), "rope_local_base_freq": window.get("rope_theta")}
    if whole is rope:  # transformers 5 would give it to all kinds of layers
        earlier["partial_rotary_factor"] = whole.get("partial_rotary_factor")
    # For other models with several kinds of layers, transformers 5 would take it in place of all parameters
    kind = config.get("model_type", "")
    if whole.get("rope_type", "default") != "default" and (whole is rope or kind in _SCALED_IN_WHOLE):
        left_out = _COUNTED.get(kind, frozenset())
        scaling = {"type": whole["rope_type"], **whole} if left_out else whole
        earlier["rope_scaling"] = {k: v for k, v in scaling.items() if k not in earlier and k not in left_out}
    earlier |= {own: earlier.get(name) for name, own in _OWN_NAMES.get(kind, {}).items()}
    for name, value in earlier.items():
        if value is not None:
            named.setdefault(name, value)
    return named


def _name_tokenizer_as_before(settings: dict[str, Any]) -> dict[str, Any]:
    named = {name: value for name, value in settings.items() if name != CORRECTED}
    if named.get("tokenizer_class") == "TokenizersBackend":
        named["tokenizer_class"] = "PreTrainedTokenizerFast"  # of which transformers 4 expects further inputs
        named.setdefault("model_input_names", ["input_ids", "attention_mask"])
    if isinstance(named.get("extra_special_tokens"), list):
        named["additional_special_tokens"] = named.pop("extra_special_tokens")
    return named
