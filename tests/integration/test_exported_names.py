"""Merged models have the names that programs for transformers 4 read."""

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoConfig, AutoTokenizer

from pada_agent.training.export.earlier_names import add_earlier_names
from pada_agent.training.export.written_prompts import describe_other_splitting
from pada_agent.training.students import Student, load_student
from pada_agent.training.tokenizer_files import load_tokenizer
from tests.integration.test_exporting import CPU, train, write
from tests.tiny_models import save_student

# peft 0.21 reads a property that transformers 5.23 renames.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")


def test_a_model_has_the_names_that_programs_for_transformers_4_read(tmp_path: Path) -> None:
    """Without them these would silently compute with other angles, and would not load the tokenizer."""
    scaling = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}
    rope = {"rope_type": "llama3", "rope_theta": 5e5, **scaling}
    student = save_student(tmp_path / "student", rope_parameters=rope, initializer_range=0.2)
    tokenizer = AutoTokenizer.from_pretrained(student)
    tokenizer.add_special_tokens({"extra_special_tokens": ["<|pad|>"]})
    tokenizer.save_pretrained(student)
    (student / "tokenizer.model").write_bytes(b"pieces")
    out = tmp_path / "out"
    assert write(student, train(student, tmp_path / "adapter"), out, "safetensors")["n_equal"] == 12

    config, settings = (json.loads((out / name).read_text()) for name in ("config.json", "tokenizer_config.json"))
    assert (config["rope_theta"], config["rope_scaling"]) == (5e5, {"rope_type": "llama3", **scaling})
    assert config["torch_dtype"] == config["dtype"] == "float32"
    assert settings["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert settings["model_input_names"] == ["input_ids", "attention_mask"]  # otherwise `generate` refuses a third one
    assert settings["additional_special_tokens"] == ["<|pad|>"] and "extra_special_tokens" not in settings
    assert (out / "tokenizer.model").read_bytes() == b"pieces"
    added = settings["added_tokens_decoder"]  # without which llama.cpp's converter would name them [PAD256] and so on
    assert {number: token["content"] for number, token in added.items()} == {
        "256": "<|start|>",
        "257": "<|end|>",
        "258": "<|pad|>",
    }
    found = load_student(str(out), CPU)
    assert found.model.config.rope_parameters == rope and found.tokenizer.extra_special_tokens == ["<|pad|>"]


def test_kinds_of_layers_keep_angles_of_their_own(tmp_path: Path) -> None:
    """Gemma 3 had two names for them. What Gemma 4 has, transformers 4 does not know."""
    whole, window = (
        {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
        {"rope_type": "default", "rope_theta": 1e4},
    )
    student = save_student(tmp_path)
    for kind, scaling in (("gemma3_text", {"rope_type": "linear", "factor": 8.0}), ("gemma4_text", None)):
        rope = {"full_attention": whole, "sliding_attention": window}
        (student / "config.json").write_text(json.dumps({"model_type": kind, "rope_parameters": rope}))
        add_earlier_names(student, Student(source=str(student), model=None, tokenizer=None))
        config = json.loads((student / "config.json").read_text())
        assert (config["rope_theta"], config["rope_local_base_freq"]) == (1e6, 1e4)
        assert config.get("rope_scaling") == scaling
        assert AutoConfig.from_pretrained(student).rope_parameters["full_attention"] == whole


def test_kinds_of_layers_keep_parts_of_their_own(tmp_path: Path) -> None:
    """transformers 5 would give one that is named for the whole model to each kind of layer."""
    rope: dict[str, dict[str, Any]] = {
        "full_attention": {"rope_type": "default", "rope_theta": 1e6, "partial_rotary_factor": 0.5},
        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
    }
    student = save_student(tmp_path)
    (student / "config.json").write_text(json.dumps({"model_type": "lfm3", "rope_parameters": rope}))
    before = AutoConfig.from_pretrained(student).rope_parameters
    add_earlier_names(student, Student(source=str(student), model=None, tokenizer=None))
    assert AutoConfig.from_pretrained(student).rope_parameters == before


def test_phi_scaling_has_no_more_names_than_transformers_4_takes(tmp_path: Path) -> None:
    factors = {"short_factor": [1.0] * 4, "long_factor": [2.0] * 4}
    sizes = {"hidden_size": 32, "num_attention_heads": 4, "max_position_embeddings": 512}
    scaling = {"type": "longrope", **factors}
    student = save_student(tmp_path)
    settings = {"model_type": "phi3", "rope_scaling": scaling, "original_max_position_embeddings": 64, **sizes}
    (student / "config.json").write_text(json.dumps(settings))
    before = AutoConfig.from_pretrained(student)
    before.save_pretrained(student)
    add_earlier_names(student, Student(source=str(student), model=None, tokenizer=None))
    assert json.loads((student / "config.json").read_text())["rope_scaling"] == scaling
    assert AutoConfig.from_pretrained(student).rope_parameters == before.rope_parameters


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"model_type": "gpt_neox", "rotary_pct": 1.0, "rotary_emb_base": 5e5}, ["rotary_pct", "rotary_emb_base"]),
        (
            {"model_type": "olmo3", "rope_theta": 5e5, "rope_scaling": {"rope_type": "yarn", "factor": 8.0}},
            ["rope_theta", "rope_scaling"],
        ),
        (
            {"model_type": "modernbert-decoder", "global_rope_theta": 8e4, "local_rope_theta": 2e4},
            ["global_rope_theta", "local_rope_theta"],
        ),
    ],
    ids=["gpt_neox", "olmo3", "modernbert-decoder"],
)
def test_families_keep_the_names_that_only_they_had(settings: dict[str, Any], names: list[str], tmp_path: Path) -> None:
    """transformers 4 would take 0.25 of each head and 10,000 for every GPT-NeoX, and no scaling for an OLMo 3."""
    student = save_student(tmp_path)
    (student / "config.json").write_text(json.dumps(settings))
    before = AutoConfig.from_pretrained(student)
    before.save_pretrained(student)
    add_earlier_names(student, Student(source=str(student), model=None, tokenizer=None))
    written = json.loads((student / "config.json").read_text())
    for name in names:
        assert written[name] == settings[name] or settings[name].items() <= written[name].items()
    assert AutoConfig.from_pretrained(student).rope_parameters == before.rope_parameters


def test_a_model_that_reads_images_too_comes_with_the_settings_for_them(tmp_path: Path) -> None:
    """vLLM does not load a Gemma 3 without them (vllm-project/llm-compressor#1305)."""
    student, out = save_student(tmp_path / "student"), save_student(tmp_path / "out")
    (student / "preprocessor_config.json").write_text('{"image_processor_type": "Gemma3ImageProcessor"}')
    made_from = Student(source=str(student), model=None, tokenizer=None)
    add_earlier_names(out, made_from)
    assert not (out / "preprocessor_config.json").exists()
    config = {"model_type": "gemma3", "text_config": {"model_type": "gemma3_text"}, "vision_config": {}}
    (out / "config.json").write_text(json.dumps(config))
    add_earlier_names(out, made_from)
    assert "Gemma3ImageProcessor" in (out / "preprocessor_config.json").read_text()


def test_a_tokenizer_that_others_would_load_differently_is_told(tmp_path: Path) -> None:
    """As of Qwen2 students with another tokenizer than Qwen's, which transformers 5 splits by its own class."""
    assert describe_other_splitting(AutoTokenizer.from_pretrained(save_student(tmp_path))) == ""
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "model_type": "qwen2"}))
    assert "PreTrainedTokenizerFast" in describe_other_splitting(load_tokenizer(str(tmp_path), None))
    add_earlier_names(tmp_path, Student(source=str(tmp_path), model=None, tokenizer=None))
    assert "PreTrainedTokenizerFast" in describe_other_splitting(load_tokenizer(str(tmp_path), None))
