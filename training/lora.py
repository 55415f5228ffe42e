"""The LoRA adapter: attached to the student, removed, and saved with a card that names the weights it belongs to."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from json import JSONDecodeError
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftConfig, PeftModelForCausalLM, get_peft_model
from peft.utils import SAFETENSORS_WEIGHTS_NAME
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers.pytorch_utils import Conv1D

from pada_agent.core.errors import ArtifactError, TrainingError
from pada_agent.core.jobs import TRAIN_METRICS, FineTuneJob, LoraSpec, read_train_metrics
from pada_agent.core.suggestions import suggest
from pada_agent.training.kernels.lora_linear import speed_up
from pada_agent.training.students import Student, draw_model, hash_weights, tell_nan

MAMBA_TYPES = {"falcon_h1", "mamba", "mamba2", "falcon_mamba", "nemotron_h"}
"""Model types whose kernels read some weights directly, bypassing adapters. PEFT refuses those layers."""

BESIDE_KERNELS = ["out_proj", "conv1d"]
"""Those layers, which `all-linear` leaves out."""

OF_EXPERTS = {"gate", "gate_proj", "up_proj", "down_proj", "gate_up_proj", "w1", "w2", "w3"}
"""Names by which PEFT adapts the experts of a mixture. Their adapters allow no dropout."""

_READS_TEXT = r"{}\.|lm_head$"
"""The beginning of paths, or a whole path, of the layers that read and write text in a model with others for images or sound."""


@contextmanager
def attach_lora(student: Student, job: FineTuneJob) -> Iterator[Any]:
    """The student with a trainable adapter, new or continued (with its own rank and targets). Afterwards, the student is as before.

    The adapter's weights are fp32 on every base.
    """
    torch.manual_seed(job.seed)
    adapted = _inject(student, job)
    config = adapted.peft_config["default"]
    config.base_model_name_or_path, config.revision = student.source, student.revision
    config.target_modules = sorted(config.target_modules)  # every process writes a set in another order
    adapted.train()
    speed_up(adapted)
    try:
        yield adapted
    finally:
        adapted.unload().eval()
        student.model.requires_grad_(False)
        _let_go_of_graphs(student.model)


def _let_go_of_graphs(model: Any) -> None:
    """Detach states that recurrent layers keep from the last row, because a tensor with a graph cannot be copied."""
    for module in model.modules():
        for name, kept in vars(module).items():
            if isinstance(kept, torch.Tensor) and kept.grad_fn is not None:
                setattr(module, name, kept.detach())


def load_adapter(
    student: Student, model: Any, folder: Path, *, is_trainable: bool = False, any_weights: bool = False
) -> Any:
    """PEFT's model of `model`, which is the student's or a copy of it, with all weights of the saved adapter.

    Args:
        any_weights: whether the student may have other weights than those that the adapter was trained on.

    Raises:
        TrainingError: this is not an adapter, it is for another model, or its weights give NaN.
        ArtifactError: it is damaged, or the metrics beside it are.
    """
    if not any_weights:
        _check_base(student, folder)
    check_numbers(folder)
    try:
        config = PeftConfig.from_pretrained(str(folder))
        config.inference_mode = not is_trainable
        adapted = PeftModelForCausalLM(model, config)
        # `PeftModel.from_pretrained` does the same, but does not tell which weights found no place
        renamed = getattr(model, "_checkpoint_conversion_mapping", {})
        keys = adapted.load_adapter(str(folder), "default", is_trainable=is_trainable, key_mapping=renamed)
    except (SafetensorError, JSONDecodeError) as exc:
        raise ArtifactError(f"{folder}: damaged ({exc}). {_repair(folder)}") from exc
    except (OSError, ValueError, LookupError, RuntimeError) as exc:
        raise TrainingError(f"adapter {folder} does not load on student {student.source}: {exc}") from exc
    if keys.missing_keys or keys.unexpected_keys:
        raise TrainingError(f"adapter {folder} does not fit student {student.source}: {_tell_misfit(keys)}")
    return adapted


def check_numbers(folder: Path) -> None:
    """Refuse an adapter whose training diverged. Nothing is said of one in another format than safetensors.

    Raises:
        TrainingError: a weight is NaN or infinite.
        ArtifactError: the file is damaged.
    """
    file = folder / SAFETENSORS_WEIGHTS_NAME
    try:
        weights = load_file(file) if file.is_file() else {}
    except SafetensorError as exc:
        raise ArtifactError(f"{folder}: damaged ({exc}). {_repair(folder)}") from exc
    if not all(tensor.isfinite().all() for tensor in weights.values()):
        raise tell_nan(f"adapter {folder}")


def _repair(folder: Path) -> str:
    """The way out: a job's output is computed again, any other adapter is the user's."""
    if folder.name.startswith("fine_tune-"):
        return "Delete the folder, then continue the run, which computes it again."
    return "Take another copy of it."


def _tell_misfit(keys: Any) -> str:
    """What `keys`, as torch's `load_state_dict` returns them, say about the two models."""
    odd, absent = keys.unexpected_keys, keys.missing_keys
    of_adapter = f"{len(odd)} of its weights have no place in the student (such as {odd[0]})" if odd else ""
    of_student = (
        f"{len(absent)} weights that it needs there are not in its file (such as {absent[0]})" if absent else ""
    )
    return (
        f"{' and '.join(filter(None, [of_adapter, of_student]))}. Give the student that it was trained on, or save the adapter"
        " again with the version of transformers that is used here."
    )


def _check_base(student: Student, folder: Path) -> None:
    """Refuse an adapter of other weights, if the file beside it says which weights those were."""
    trained_on = read_train_metrics(folder).base_sha256
    if not trained_on or not student.weights:
        return
    own = hash_weights(student.weights)
    shared = trained_on.keys() & own.keys()
    if any(trained_on[name] != own[name] for name in shared) or not set(trained_on.values()) & set(own.values()):
        raise TrainingError(
            f"adapter {folder} was trained on other weights than those of student {student.source}: {TRAIN_METRICS} beside it"
            f" names the SHA-256 of {', '.join(trained_on)}. Give that student. To merge the adapter into this one anyway, name it: pada export … --student."
        )


def save_adapter(adapted: Any, student: Student, folder: Path) -> None:
    """Save in PEFT's format, with our card."""
    adapted.save_pretrained(str(folder))
    (folder / "README.md").write_text(write_card(student, adapted.peft_config["default"]), encoding="utf-8")


def write_card(student: Student, config: LoraConfig) -> str:
    """The card, which names the weights: a student read from a quantized file differs from the one on the hub."""
    hashes = "".join(f"- `{name}`: `{sha256}`\n" for name, sha256 in hash_weights(student.weights).items())
    return (
        f"---\nlibrary_name: peft\nbase_model: {student.source}\n---\n\n"
        f"LoRA adapter of rank {config.r}, alpha {config.lora_alpha}, made by pada-agent.\n\n"
        f"It fits only the base weights it was trained on{_IN_4BIT if student.is_in_4bit else ''}. Their SHA-256:\n\n{hashes}"
    )


_IN_4BIT = ", which were kept in 4 bits (nf4, double quantization)"


def check_targets(target_modules: str, student: str) -> None:
    """Refuse target modules that the student does not have, before its weights are loaded.

    Raises:
        TrainingError: lists the layers that it has.
    """
    if target_modules == "all-linear":
        return
    model = draw_model(student)
    _check_targets(_split(target_modules), model)


def make_lora_config(model: Any, spec: LoraSpec) -> LoraConfig:
    """PEFT's settings for `spec`. Layers that read images or sound are left out: text teaches them nothing, and vLLM refuses such adapters.

    Raises:
        TrainingError: the model does not have a target module. Lists those that it has.
    """
    names = _split(spec.target_modules)
    if spec.target_modules != "all-linear":
        _check_targets(names, model)
    text = _find_text_part(model)
    beside: str | list[str] | None = f"(?!{_READS_TEXT.format(re.escape(text))}).*" if text else None
    if spec.target_modules == "all-linear":
        names = _list_layers(model, text)
        beside = BESIDE_KERNELS if _has_mamba_kernels(model) else beside
    return LoraConfig(
        r=spec.rank,
        use_rslora=spec.rslora,
        use_dora=spec.dora,
        init_lora_weights=True if spec.init == "default" else spec.init,
        lora_alpha=spec.alpha,
        lora_dropout=spec.dropout,
        target_modules=names or "all-linear",
        exclude_modules=beside,
        task_type="CAUSAL_LM",
    )


def _inject(student: Student, job: FineTuneJob) -> Any:
    if not job.start_from:
        try:
            return get_peft_model(student.model, make_lora_config(student.model, job.lora))
        except ValueError as exc:
            raise TrainingError(
                f"lora.target_modules: PEFT cannot adapt these layers of {student.source}: {exc}"
            ) from exc
    return load_adapter(student, student.model, Path(job.start_from), is_trainable=True)


def _find_text_part(model: Any) -> str:
    """Path of the layers that read text in a model that has others for images or sound. Empty for other models."""
    if model.config.get_text_config(decoder=True) is model.config:
        return ""
    decoder = model.get_decoder()
    return next((path for path, module in model.named_modules() if module is decoder), "")


def _list_layers(model: Any, text: str) -> list[str]:
    """Linear layers below `text` that are neither experts nor routers. Empty for models in which `all-linear` stands for these layers."""
    experts = any("experts" in name and parameter.ndim == 3 for name, parameter in model.named_parameters())
    if not experts and not text:
        return []
    output = model.get_output_embeddings()
    linear = [
        path
        for path, layer in model.named_modules()
        if type(layer).__name__ in ("Linear", "Linear4bit") and layer is not output and path.startswith(text)
    ]
    return sorted({path.rpartition(".")[2] for path in linear} - (OF_EXPERTS if experts else set()))


def _has_mamba_kernels(model: Any) -> bool:
    return getattr(model.config, "model_type", None) in MAMBA_TYPES


def _split(target_modules: str) -> list[str]:
    return [name.strip() for name in target_modules.split(",") if name.strip()]


def _check_targets(names: list[str], model: Any) -> None:
    kinds = torch.nn.Linear | torch.nn.Embedding | Conv1D
    reads_text = re.compile(_READS_TEXT.format(re.escape(text)) if (text := _find_text_part(model)) else "")
    known_paths = [
        name for name, module in model.named_modules() if isinstance(module, kinds) and reads_text.match(name)
    ]
    unknown = [name for name in names if not any(f".{path}".endswith(f".{name}") for path in known_paths)]
    if unknown or not names:
        known = ", ".join(sorted({path.rpartition(".")[2] for path in known_paths}))
        raise TrainingError(
            f"lora.target_modules: {', '.join(unknown) or 'nothing'} is not a linear layer or embedding of this model. It has:"
            f" {known}.{suggest(unknown[0], known.split(', ')) if unknown else ''}"
        )
