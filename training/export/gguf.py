"""Writes a GGUF file with a merged adapter: a copy of the student's file, with new values where the adapter changed them.

Tokenizer, chat template and metadata are copied, so nothing about them has to be guessed.
Tensors that the adapter did not change keep their quantization; other matrices are written as F16, and vectors, which llama.cpp does not
read as such, as F32.
"""

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch

from pada_agent.core.errors import TrainingError
from pada_agent.training.students import Student

ARCHITECTURES = ("llama", "qwen2")
"""Architectures whose tensor layout is known here: for one, llama.cpp's llama interleaves the rotary halves of queries and keys."""

_QUESTION = {"role": "user", "content": "Hello"}


def write_merged_gguf(source: Path, target: Path, *, base: Any, merged: Student) -> None:
    """Write `target` like `source`, with the merged student's chat template and end of turn; `base` is the model the adapter was merged into.

    Raises:
        TrainingError: the architecture's layout is not known.
    """
    reader = gguf.GGUFReader(source)
    architecture = str(reader.fields[gguf.Keys.General.ARCHITECTURE].contents())
    if architecture not in ARCHITECTURES:
        raise TrainingError(
            f"{source}: GGUF export supports the layouts {', '.join(ARCHITECTURES)}, not {architecture}. Export with"
            " --format safetensors and convert that folder with llama.cpp's convert_hf_to_gguf.py."
        )
    config = merged.model.config
    if base.config.tie_word_embeddings and not config.tie_word_embeddings:
        raise TrainingError(
            f"{source}: its input and output embeddings are one tensor, but the adapter changes only one of them, which this"
            " file cannot hold. Export with --format safetensors."
        )
    changed = _find_changed(base.state_dict(), merged.model.state_dict())
    names = _name_tensors(list(changed), architecture, config.num_hidden_layers)
    writer = gguf.GGUFWriter(target, architecture)
    _copy_metadata(reader, writer, _list_chat_settings(merged.tokenizer))
    for tensor in reader.tensors:
        if (name := names.get(tensor.name)) is None:
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
        else:
            values = _lay_out(changed[name].float().cpu().numpy(), tensor.name, architecture, config)
            writer.add_tensor(tensor.name, values.astype(np.float16 if values.ndim > 1 else np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _find_changed(base: dict[str, torch.Tensor], merged: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value for name, value in merged.items() if not torch.equal(value, base[name])}


def _name_tensors(names: list[str], architecture: str, n_layers: int) -> dict[str, str]:
    """Transformers' tensor names by GGUF name.

    Raises:
        TrainingError: the adapter changed a tensor that the GGUF names differently.
    """
    known = {name: kind for kind, name in gguf.MODEL_ARCH_NAMES.items()}
    tensor_names = gguf.get_tensor_name_map(known[architecture], n_layers)
    found = {tensor_names.get_name(name, try_suffixes=(".weight", ".bias")): name for name in names}
    if None in found:
        raise TrainingError(
            f"tensor {found[None]} has no name in a {architecture} GGUF: export with --format safetensors"
        )
    return {str(gguf_name): name for gguf_name, name in found.items()}


def _list_chat_settings(tokenizer: Any) -> dict[str, tuple[Any, gguf.GGUFValueType]]:
    """Metadata that the student's settings may have changed: value and type by key."""
    keys = gguf.Keys.Tokenizer
    found = {keys.CHAT_TEMPLATE: (tokenizer.chat_template, gguf.GGUFValueType.STRING)}
    if tokenizer.eos_token_id is not None:
        found[keys.EOS_ID] = (tokenizer.eos_token_id, gguf.GGUFValueType.UINT32)
    prompt = tokenizer.apply_chat_template([_QUESTION], add_generation_prompt=True, tokenize=False)
    if not tokenizer.bos_token or not prompt.startswith(tokenizer.bos_token):
        found[keys.ADD_BOS] = (False, gguf.GGUFValueType.BOOL)  # llama.cpp would put one before a prompt that had none
    return found


def _copy_metadata(
    reader: gguf.GGUFReader, writer: gguf.GGUFWriter, changed: dict[str, tuple[Any, gguf.GGUFValueType]]
) -> None:
    for name, (value, kind) in changed.items():
        writer.add_key_value(name, value, kind)
    for field in reader.fields.values():
        written_anyway = field.name == gguf.Keys.General.ARCHITECTURE or field.name.startswith("GGUF.")
        if written_anyway or field.name == gguf.Keys.General.FILE_TYPE or field.name in changed:
            continue
        kind, inner = field.types[0], field.types[-1]
        is_list = kind == gguf.GGUFValueType.ARRAY
        writer.add_key_value(field.name, field.contents(), kind, sub_type=inner if is_list else None)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)


def _lay_out(values: np.ndarray[Any, Any], name: str, architecture: str, config: Any) -> np.ndarray[Any, Any]:
    """Rotary embeddings pair value i with value i + d/2 in transformers, but with its neighbor in llama.cpp's llama."""
    n_heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}.get(name.split(".")[-2])
    if architecture != "llama" or n_heads is None:
        return values
    return values.reshape(n_heads, 2, -1, *values.shape[1:]).swapaxes(1, 2).reshape(values.shape)
