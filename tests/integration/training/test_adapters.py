"""Which adapters a student takes."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForImageTextToText

from pada_agent.core.errors import ArtifactError, ConfigError, TrainingError
from pada_agent.core.jobs import LoraSpec
from pada_agent.training.lora import attach_lora, make_lora_config
from pada_agent.training.predicting import apply_adapter, merge_adapter
from pada_agent.training.students import Student, load_student, read_tokenizer
from tests.integration.training.small_student import CPU, make_job

# peft 0.21 reads a property that transformers 5.23 renames.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")

Weights = dict[str, torch.Tensor]
MISFITS: dict[str, Callable[[Weights], Weights]] = {
    "other names": lambda w: {k.replace("model.layers", "model.language_model.layers"): v for k, v in w.items()},
    "fewer layers": lambda w: {k: v for k, v in w.items() if ".layers.1." not in k},
    "more layers": lambda w: w | {k.replace(".layers.1.", ".layers.2."): v.clone() for k, v in w.items()},
}


def change(adapter: Path, folder: Path, edit: Callable[[Weights], Weights]) -> Path:
    shutil.copytree(adapter, folder)
    weights = load_file(adapter / "adapter_model.safetensors")
    save_file(edit(weights), folder / "adapter_model.safetensors")
    return folder


@pytest.mark.parametrize("name", MISFITS)
def test_one_that_fits_in_part_or_not_at_all_is_refused(
    student: Student, adapter: Path, tmp_path: Path, name: str
) -> None:
    changed = change(adapter, tmp_path / "changed", MISFITS[name])
    with pytest.raises(TrainingError, match=r"changed does not fit student \S+: \d+ .*layers\.\d"):
        merge_adapter(student, changed)


@pytest.mark.parametrize("file", ["adapter_model.safetensors", "adapter_config.json"])
@pytest.mark.parametrize(
    ("name", "way_out"),
    [
        ("fine_tune-1", r"Delete the folder, then continue the run, which computes it again\."),
        ("mine", "Take another copy"),
    ],
)
def test_a_damaged_one_is_named_with_the_way_out(
    student: Student, adapter: Path, tmp_path: Path, file: str, name: str, way_out: str
) -> None:
    folder = Path(shutil.copytree(adapter, tmp_path / name))
    content = (folder / file).read_bytes()
    for damaged in (b"", content[: len(content) // 2]):
        (folder / file).write_bytes(damaged)
        with pytest.raises(ArtifactError, match=rf"{name}: damaged \(.*\)\. {way_out}"):
            merge_adapter(student, folder)


def test_one_that_does_not_fit_is_not_continued(student: Student, adapter: Path, tmp_path: Path) -> None:
    changed = change(adapter, tmp_path / "changed", MISFITS["fewer layers"])
    with pytest.raises(TrainingError, match="does not fit"), attach_lora(student, make_job(start_from=str(changed))):
        pass


def test_one_of_other_weights_is_refused_where_its_metrics_name_them(
    student_folder: Path, adapter: Path, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(student_folder, tmp_path / "other"))
    weights = load_file(other / "model.safetensors")
    save_file({k: v + 0.01 for k, v in weights.items()}, other / "model.safetensors", metadata={"format": "pt"})
    student = load_student(str(other), CPU)
    with (
        pytest.raises(TrainingError, match=r"trained on other weights .* names the SHA-256 of model\.safetensors"),
        apply_adapter(student, adapter),
    ):
        pass
    alone = Path(shutil.copytree(adapter, tmp_path / "alone"))
    (alone / "train_metrics.json").unlink()
    assert merge_adapter(student, alone).source == str(other)


def test_the_same_weights_under_another_name_are_its_own(student_folder: Path, adapter: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(adapter, tmp_path / "moved"))
    metrics = json.loads((moved / "train_metrics.json").read_text())
    metrics["base_sha256"] = {"renamed.safetensors": metrics["base_sha256"]["model.safetensors"]}
    (moved / "train_metrics.json").write_text(json.dumps(metrics))
    assert merge_adapter(load_student(str(student_folder), CPU), moved)


def test_a_student_with_an_adapter_beside_its_weights_is_refused(
    student_folder: Path, adapter: Path, tmp_path: Path
) -> None:
    both = Path(shutil.copytree(student_folder, tmp_path / "both"))
    shutil.copytree(adapter, both, dirs_exist_ok=True)
    for folder in (both, adapter):
        with pytest.raises(ConfigError, match=rf"student {folder}: contains an adapter .*`pada export {folder} --out"):
            load_student(str(folder), CPU)
        with pytest.raises(ConfigError, match="contains an adapter"):
            read_tokenizer(str(folder))


def test_layers_that_read_images_get_no_adapter() -> None:
    """Text teaches them nothing, and vLLM refuses an adapter that has them."""
    layers = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4}
    config = AutoConfig.for_model(
        "gemma3",
        text_config={**layers, "num_hidden_layers": 1, "num_key_value_heads": 2, "head_dim": 8, "vocab_size": 300},
        vision_config={**layers, "num_hidden_layers": 1, "image_size": 28, "patch_size": 14},
        mm_tokens_per_image=4,
        tie_word_embeddings=False,
    )
    for target_modules, expected in (
        ("all-linear", {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}),
        ("q_proj,lm_head", {"q_proj", "lm_head"}),
    ):
        model = AutoModelForImageTextToText.from_config(config)
        adapted = get_peft_model(model, make_lora_config(model, LoraSpec(rank=2, target_modules=target_modules)))
        names = [name for name, parameter in adapted.named_parameters() if parameter.requires_grad]
        assert not any("vision" in name or "projector" in name for name in names)
        assert {name.split(".")[-4] for name in names} == expected == adapted.peft_config["default"].target_modules
    with pytest.raises(TrainingError, match=r"fc1 is not a linear layer .* It has: .*q_proj"):
        make_lora_config(AutoModelForImageTextToText.from_config(config), LoraSpec(target_modules="fc1"))
