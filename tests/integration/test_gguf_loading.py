"""A GGUF file read by torch: the values that gguf and transformers get."""

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from gguf.quants import dequantize
from transformers import AutoConfig

from benchmarks import gguf_loading
from pada_agent.core.errors import TrainingError
from pada_agent.training.rope_scaling import complete_rope
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


LLAMA3_BASE = 500_000.0
LLAMA3_FACTORS = (1.0, 1.0, 2.6945297, 8.0)
"""Those of Llama 3.1 for 8 rotary dimensions, whose wavelengths are 6.3, 167, 4443 and 118,143 tokens. Below 2048 nothing is divided, above
8192 all is, and of the third (8192 / 4443 - 1) / 3 is not."""


def test_the_factors_of_llama_3_are_applied_to_each_frequency(tmp_path: Path) -> None:
    file = save_gguf_student(tmp_path, rope_base=LLAMA3_BASE, rope_factors=LLAMA3_FACTORS)
    model, _ = read_gguf(file)
    plain = LLAMA3_BASE ** -(torch.arange(4) / 4)
    torch.testing.assert_close(model.model.rotary_emb.inv_freq, plain / torch.tensor(LLAMA3_FACTORS))
    assert model.config.rope_parameters["rope_type"] == "llama3"
    without = tmp_path / "without"
    without.mkdir()
    plain_model, _ = read_gguf(save_gguf_student(without, rope_base=LLAMA3_BASE))
    ids = torch.arange(200)[None]
    assert not torch.equal(model(input_ids=ids).logits, plain_model(input_ids=ids).logits)


@pytest.mark.parametrize(
    ("scaling", "parameters"),
    [
        ({"type": "linear", "factor": 4.0}, {"rope_type": "linear", "factor": 4.0}),
        (
            {"type": "yarn", "factor": 4.0, "original_context_length": 128},
            {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128},
        ),
        ({"type": "none", "factor": 4.0}, {"rope_type": "default"}),
        ({"type": "linear", "factor": 1.0}, {"rope_type": "default"}),
    ],
)
def test_a_scaling_is_read_by_its_name(scaling: dict[str, Any], parameters: dict[str, Any], tmp_path: Path) -> None:
    model, _ = read_gguf(save_gguf_student(tmp_path, "qwen2", rope_scaling=scaling))
    assert parameters.items() <= model.config.rope_parameters.items()
    plain = 10_000.0 ** -(torch.arange(4) / 4)
    if parameters["rope_type"] != "yarn":
        torch.testing.assert_close(model.model.rotary_emb.inv_freq, plain / parameters.get("factor", 1))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"rope_factors": (1.0, 1.0, 8.0, 32.0)}, r"rope_freqs\.weight"),
        ({"rope_scaling": {"type": "longrope", "factor": 4.0}}, r"rope\.scaling\.type: longrope"),
        ({"rope_scaling": {"type": "yarn", "factor": 4.0}}, r"rope\.scaling\.type: yarn"),
        ({"rope_scaling": {"type": "yarn", "factor": 4.0, "attn_factor": 2.0}}, "attn_factor"),
        ({"rope_factors": LLAMA3_FACTORS, "rope_base": LLAMA3_BASE, "rope_scaling": {"factor": 2.0}}, "factor: 2"),
    ],
)
def test_a_scaling_without_a_formula_is_refused(changes: dict[str, Any], named: str, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=rf"tiny\.gguf scales its rotary embeddings .*{named}.*safetensors model"):
        read_gguf(save_gguf_student(tmp_path, **changes))


@pytest.mark.parametrize("architecture", ["starcoder2", "stablelm", "nemotron", "phi3"])
def test_the_base_and_width_of_rotary_embeddings_are_those_of_the_file(architecture: str, tmp_path: Path) -> None:
    """transformers has 10,000 for each StarCoder 2 and StableLM, and turns a quarter or half of each head of StableLM and Nemotron."""
    file = save_gguf_student(tmp_path, architecture, rope_base=1e6, n_tensors=2)
    config = AutoConfig.from_pretrained(tmp_path, gguf_file=file.name)
    complete_rope(config, gguf.GGUFReader(file), file)
    assert (config.rope_parameters["rope_theta"], config.rope_parameters["rope_type"]) == (1e6, "default")
    assert config.rope_parameters.get("partial_rotary_factor", 1) == 1


@pytest.mark.parametrize("layer", ["attn_q", "ffn_up"])
def test_a_file_with_weights_that_would_be_left_out_is_refused(layer: str, tmp_path: Path) -> None:
    """As Granite's code models, which are Llamas with biases."""
    file = save_gguf_student(tmp_path, biases=[layer])
    with pytest.raises(
        TrainingError, match=rf"tiny\.gguf has [69][46] weights .*blk\.0\.{layer}\.bias.*safetensors model"
    ):
        read_gguf(file)
