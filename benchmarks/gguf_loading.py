"""Loads a GGUF file as a transformers model in seconds: torch unpacks its blocks on the device that will use them.

transformers gets the same values but takes a minute or more, because it unpacks with numpy in one thread, and reads the
vocabulary again for the configuration, the tokenizer and the weights.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from gguf.quants import dequantize
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.initialization import no_init_weights

ARCHITECTURES = ("qwen2", "qwen3")
"""Architectures whose tensors transformers stores as llama.cpp does. Llama is not one: its queries and keys are permuted."""
BLOCKS_AT_ONCE = 1 << 16
"""64 MiB of fp32 a chunk: bounds what unpacking a vocabulary's matrix needs beside it."""


class PlainReader(gguf.GGUFReader):  # type: ignore[misc]
    """Reads the header through an array, because slices of a memmap cost several times as much, and there are a million of them."""

    data: Any

    def _get(self, *args: Any, **kwargs: Any) -> Any:
        if isinstance(self.data, np.memmap):
            self.data = np.asarray(self.data)
        return super()._get(*args, **kwargs)


def read_config(file: Path) -> Any:
    """The model's configuration, as transformers derives it."""
    with _one_reader():
        return AutoConfig.from_pretrained(str(file.parent), gguf_file=file.name)


def read_tokenizer(file: Path) -> Any:
    """The tokenizer with the file's chat template, as transformers derives it."""
    with _one_reader():
        return AutoTokenizer.from_pretrained(str(file.parent), gguf_file=file.name)


def close_file() -> None:
    """Release the open file, which consists of a million small arrays."""
    _open.cache_clear()


def count_tokens(file: Path) -> int:
    """Size of the vocabulary without the unused entries at its end, which only pad the matrices."""
    kinds = _open(str(file)).fields["tokenizer.ggml.token_type"].contents()
    return max(n for n, kind in enumerate(kinds, start=1) if kind != gguf.TokenType.UNUSED)


def read_model(file: Path, config: Any, *, device: torch.device, dtype: torch.dtype) -> Any:
    """The model in evaluation mode.

    Raises:
        ValueError: the file's architecture is not one of `ARCHITECTURES`, or tensors are missing.
    """
    reader = _open(str(file))
    architecture = str(reader.fields["general.architecture"].contents())
    if architecture not in ARCHITECTURES:
        raise ValueError(f"{file} holds a {architecture}; only {', '.join(ARCHITECTURES)} can be loaded here")
    with torch.device(device), no_init_weights():  # not on meta: no file holds the rotary frequencies
        model = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation="sdpa")
    names = name_tensors(list(model.state_dict()), architecture, n_layers=config.num_hidden_layers)
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    found = {key: tensors[name] for key, name in names.items() if name in tensors}
    with ThreadPoolExecutor() as pool:
        weights = pool.map(lambda tensor: unpack(tensor, device, dtype), found.values())
        missing, _ = model.load_state_dict(dict(zip(found, weights, strict=True)), strict=False, assign=True)
    if lacking := set(missing) - ({"lm_head.weight"} if config.tie_word_embeddings else set()):
        raise ValueError(f"{file} lacks the tensors for {sorted(lacking)}")
    model.tie_weights()
    return model.eval().requires_grad_(False)


def name_tensors(keys: list[str], architecture: str, *, n_layers: int) -> dict[str, str]:
    """transformers' names to llama.cpp's."""
    number = next(n for n, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)
    known = gguf.get_tensor_name_map(number, n_layers)
    return {key: str(known.get_name(key, try_suffixes=(".weight", ".bias"))) for key in keys}


def unpack(tensor: Any, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """A tensor of the file, unpacked in fp32, then rounded. Types without an unpacker below go through numpy."""
    shape = [int(n) for n in reversed(tensor.shape)]
    layout = UNPACKING.get(tensor.tensor_type.name)
    if layout is None:
        return torch.from_numpy(dequantize(tensor.data, tensor.tensor_type).copy()).to(device, dtype).reshape(shape)
    n_bytes, unpack_blocks = layout
    blocks = torch.from_numpy(np.array(tensor.data)).to(device).reshape(-1, n_bytes)
    return torch.cat([unpack_blocks(part).to(dtype) for part in torch.split(blocks, BLOCKS_AT_ONCE)]).reshape(shape)


def unpack_q4_k(blocks: torch.Tensor) -> torch.Tensor:
    """(N, 144) bytes to (N, 256): two fp16 scales, 12 bytes with 8 scales and 8 minima of 6 bits, 256 values of 4 bits."""
    scale, minimum = blocks[:, :4].contiguous().view(torch.float16).float().chunk(2, dim=1)
    low, high, mixed = blocks[:, 4:16].chunk(3, dim=1)
    scales = torch.cat([low & 0x3F, (mixed & 0x0F) | ((low >> 2) & 0x30)], dim=1)
    minima = torch.cat([high & 0x3F, (mixed >> 4) | ((high >> 2) & 0x30)], dim=1)
    packed = blocks[:, 16:].reshape(-1, 4, 1, 32)
    values = torch.cat([packed & 0x0F, packed >> 4], dim=2).reshape(-1, 8, 32).float()
    found = (scale * scales.float())[:, :, None] * values - (minimum * minima.float())[:, :, None]
    return found.reshape(-1, 256)


def unpack_q6_k(blocks: torch.Tensor) -> torch.Tensor:
    """(N, 210) bytes to (N, 256): the values' lower 4 bits, their upper 2, 16 scales of 8 bits, one of fp16."""
    low = blocks[:, :128].reshape(-1, 2, 1, 64)
    low = torch.cat([low & 0x0F, low >> 4], dim=2).reshape(-1, 8, 32)
    high = blocks[:, 128:192].reshape(-1, 2, 1, 32)
    high = torch.cat([(high >> shift) & 0x03 for shift in (0, 2, 4, 6)], dim=2).reshape(-1, 8, 32)
    values = ((low | (high << 4)).float() - 32).reshape(-1, 16, 16)
    scales = blocks[:, 192:208].contiguous().view(torch.int8).float()
    scale = blocks[:, 208:].contiguous().view(torch.float16).float()
    return ((scale * scales)[:, :, None] * values).reshape(-1, 256)


UNPACKING: dict[str, tuple[int, Callable[[torch.Tensor], torch.Tensor]]] = {
    "Q4_K": (144, unpack_q4_k),
    "Q6_K": (210, unpack_q6_k),
}
"""Bytes of a block, and what turns blocks into values."""


@lru_cache(maxsize=1)
def _open(path: str) -> PlainReader:
    return PlainReader(path)


@contextmanager
def _one_reader() -> Iterator[None]:
    """In this context, transformers, which looks up the reader at each use, gets the file that is already open."""
    own = gguf.GGUFReader
    gguf.GGUFReader = lambda path: _open(str(path))
    try:
        yield
    finally:
        gguf.GGUFReader = own
