"""A GGUF file read by torch: the values that gguf and transformers get."""

from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from gguf.quants import dequantize

from benchmarks import gguf_loading
from pada_agent.training.students import read_gguf
from tests.tiny_models import save_gguf_student


@pytest.mark.parametrize("kind", sorted(gguf_loading.UNPACKING))
def test_blocks_unpack_to_the_values_of_the_gguf_package(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gguf_loading, "BLOCKS_AT_ONCE", 3)
    n_bytes, unpack_blocks = gguf_loading.UNPACKING[kind]
    blocks = np.random.default_rng(0).integers(0, 256, (8, n_bytes), dtype=np.uint8)
    scales = slice(208, 210) if kind == "Q6_K" else slice(0, 4)
    blocks[:, scales] = np.full((8, (scales.stop - scales.start) // 2), 0.37, np.float16).view(np.uint8)
    expected = dequantize(blocks, gguf.GGMLQuantizationType[kind])
    assert np.array_equal(unpack_blocks(torch.from_numpy(blocks)).numpy(), expected)


def test_a_qwen2_is_read_to_the_tensors_of_transformers(tmp_path: Path) -> None:
    file = save_gguf_student(tmp_path, "qwen2")
    theirs, _ = read_gguf(file)
    config = gguf_loading.read_config(file)
    ours = gguf_loading.read_model(file, config, device=torch.device("cpu"), dtype=torch.float32)
    ids = torch.arange(8)[None]
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    assert all(torch.equal(t, theirs.state_dict()[name]) for name, t in ours.state_dict().items())
    assert torch.equal(ours(input_ids=ids).logits, theirs(input_ids=ids).logits)


def test_a_permuted_architecture_is_refused(tmp_path: Path) -> None:
    file = save_gguf_student(tmp_path, "llama")
    with pytest.raises(ValueError, match="holds a llama"):
        gguf_loading.read_model(file, gguf_loading.read_config(file), device=torch.device("cpu"), dtype=torch.float32)
