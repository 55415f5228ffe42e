"""Students whose weights do not all find their place are refused, and those with a harmless surplus are taken."""

import json
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

from pada_agent.core.errors import TrainingError
from pada_agent.training.students import convert_gguf, load_student, read_gguf
from pada_agent.training.whole_weights import load_whole
from tests.tiny_models import save_gguf_student, save_student

Weights = dict[str, torch.Tensor]
CPU = torch.device("cpu")
N_WEIGHTS = 21
"""Of the tiny Llama with a head of its own."""


def change_weights(folder: Path, change: Callable[[Weights], Weights]) -> Path:
    file = folder / "model.safetensors"
    save_file(change(load_file(file)), file, metadata={"format": "pt"})
    return folder


def add_biases(weights: Weights) -> Weights:
    return weights | {f"model.layers.{n}.self_attn.q_proj.bias": torch.ones(16) for n in range(2)}


def rename_by(prefix: str) -> Callable[[Weights], Weights]:
    return lambda weights: {prefix + name: tensor for name, tensor in weights.items()}


MISFITS: dict[str, tuple[Callable[[Weights], Weights], str]] = {
    "saved after torch.compile": (
        rename_by("_orig_mod."),
        r"names of its weights begin with '_orig_mod\.', because a wrapper was saved",
    ),
    "saved inside DDP": (rename_by("module."), r"names of its weights begin with 'module\.'"),
    "saved inside another wrapper": (
        rename_by("policy.net."),
        rf"{N_WEIGHTS} missing \(lm_head\.weight\), {N_WEIGHTS} unused \(policy\.net\.lm_head\.weight\)\. .* begin with 'policy\.net\.'",
    ),
    "saved as a whole by PEFT": (rename_by("base_model.model."), r"Merge the adapter"),
    "without a layer": (
        lambda weights: {name: tensor for name, tensor in weights.items() if ".1." not in name},
        r"9 missing \(model\.layers\.1\.input_layernorm\.weight\)\. Its files are not complete",
    ),
    "without its head": (
        lambda weights: {name: tensor for name, tensor in weights.items() if name != "lm_head.weight"},
        r"1 missing \(lm_head\.weight\)",
    ),
    "with biases that the configuration denies": (
        add_biases,
        r"2 unused \(model\.layers\.0\.self_attn\.q_proj\.bias\)\. Give it the config\.json",
    ),
    "of another vocabulary": (
        lambda weights: {n: t[:-3].clone() if "layers" not in n and "norm" not in n else t for n, t in weights.items()},
        r"2 of another shape \(lm_head\.weight: \(256, 16\) instead of \(259, 16\)\)",
    ),
}


@pytest.mark.parametrize("name", MISFITS)
def test_a_student_whose_weights_do_not_all_fit_is_refused(tmp_path: Path, name: str) -> None:
    change, words = MISFITS[name]
    folder = change_weights(save_student(tmp_path / "mine", tie_word_embeddings=False), change)
    with pytest.raises(TrainingError, match=rf"student '?{folder}.*{words}"):
        load_student(str(folder), CPU)


LEFT_OVER: dict[str, Weights] = {
    "angles of old Llama files": {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)},
    "the masks of old CodeGen files": {"model.layers.0.attn.causal_mask": torch.ones(1, 1, 8, 8)},
    "the value head of a reward model": {"v_head.summary.weight": torch.ones(1, 16)},
}


@pytest.mark.parametrize("name", LEFT_OVER)
def test_a_harmless_surplus_is_taken(tmp_path: Path, name: str) -> None:
    folder = save_student(tmp_path / "mine", tie_word_embeddings=False)
    before = logits_of(load_student(str(folder), CPU).model)
    change_weights(folder, lambda weights: weights | LEFT_OVER[name])
    assert torch.equal(logits_of(load_student(str(folder), CPU).model), before)


MASKS: Mapping[str, tuple[dict[str, Any], str]] = {
    "gpt_neo": ({"hidden_size": 32, "num_layers": 2, "attention_types": [[["global", "local"], 1]]}, "attn.attention"),
    "gptj": ({"n_embd": 32, "n_layer": 2, "rotary_dim": 4}, "attn"),
    "gpt2": ({"n_embd": 32, "n_layer": 2}, "attn"),
}


@pytest.mark.parametrize("kind", MASKS)
def test_masks_that_old_versions_saved_are_no_weights(tmp_path: Path, kind: str) -> None:
    settings, module = MASKS[kind]
    heads = {"num_heads": 4} if kind == "gpt_neo" else {"n_head": 4}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, vocab_size=300, **settings, **heads))
    model.eval().save_pretrained(tmp_path)
    masks = {f"transformer.h.0.{module}.{name}": torch.ones(1, 1, 8, 8) for name in ("bias", "masked_bias")}
    change_weights(tmp_path, lambda weights: weights | masks)
    assert torch.equal(logits_of(load_whole(kind, str(tmp_path)).eval()), logits_of(model))


def test_a_tied_head_need_not_be_in_the_file(tmp_path: Path) -> None:
    folder = save_student(tmp_path / "mine", tie_word_embeddings=True)
    assert "lm_head.weight" not in load_file(folder / "model.safetensors")
    assert load_student(str(folder), CPU).model.config.tie_word_embeddings


def logits_of(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        logits: torch.Tensor = model(torch.arange(20, 40)[None]).logits
    return logits


def test_one_part_of_a_split_gguf_is_refused(tmp_path: Path) -> None:
    part = save_gguf_student(tmp_path, n_tensors=12).rename(tmp_path / "tiny-00001-of-00002.gguf")
    for read in (convert_gguf, read_gguf):
        with pytest.raises(TrainingError, match=r"of-00002\.gguf': .* 8 missing .*llama-gguf-split --merge"):
            read(part)
    assert not list(tmp_path.glob("*-fp32"))


@pytest.mark.parametrize("n_more", [None, 1])
def test_layers_that_predict_further_tokens_are_taken_if_the_configuration_counts_them(
    tmp_path: Path, n_more: int | None
) -> None:
    """As in DeepSeek-V3 and GLM-4.5, after all other layers."""
    folder = save_student(tmp_path / "mine", tie_word_embeddings=False)
    change_weights(folder, lambda weights: weights | {"model.layers.2.eh_proj.weight": torch.ones(16, 32)})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_nextn_predict_layers": n_more}))
    with nullcontext() if n_more else pytest.raises(TrainingError, match="1 unused"):
        load_student(str(folder), CPU)
