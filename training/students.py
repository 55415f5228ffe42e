"""The student: base model and tokenizer, loaded once per worker and never changed by a job."""

import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from shutil import rmtree
from typing import Any

import gguf
import torch
import transformers
from huggingface_hub import snapshot_download
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig, PreTrainedTokenizerFast
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
from transformers.utils.peft_utils import find_adapter_config_file

from pada_agent.core.damage import tell_no_locks
from pada_agent.core.durability import replace_durably
from pada_agent.core.errors import ConfigError, TrainingError
from pada_agent.core.hub_names import split_commit
from pada_agent.core.jobs import TOKENIZER_FACTS, ChatSpec, LoadIn, TokenizerFacts
from pada_agent.core.machine import hash_once
from pada_agent.core.model_files import find_damage, tell_adapter, tell_missing_tokenizer
from pada_agent.training.encoding import ChatEncoder
from pada_agent.training.quantization import is_in_4bit, keep_one_layout, make_4bit_options
from pada_agent.training.rope_scaling import complete_rope
from pada_agent.training.tokenizer_files import is_corrected, load_tokenizer, split_as_llama_cpp
from pada_agent.training.whole_weights import load_whole, refuse_left_out

MAX_CHANGE = 0.05
"""Relative to the logits' spread, because experts that process the tokens of two texts together round differently."""
SOURCE_HASH = "source.sha256"
"""File in the copy of a GGUF file that contains the file's SHA-256 and `READING`."""
READING = 3
"""Number of the way in which GGUF files are read. Copies that were made in an earlier way are made again."""


@dataclass(frozen=True)
class Student:
    """A base model in evaluation mode and its tokenizer."""

    source: str
    """Hub id or folder for `from_pretrained`. For a GGUF file, its safetensors copy."""
    model: Any
    tokenizer: Any
    revision: str | None = None
    """Commit of a hub model."""
    weights: tuple[Path, ...] = ()
    """The original files: safetensors or GGUF."""
    adapter: Path | None = None
    """The adapter that is merged into the model, or beside its weights."""

    @property
    def device(self) -> torch.device:
        device: torch.device = self.model.device
        return device

    @property
    def is_in_4bit(self) -> bool:
        """If so, adapters stay beside the weights, because a merged one would be rounded to 4 bits."""
        return is_in_4bit(self.model)

    @property
    def n_bytes(self) -> int:
        """Memory of the weights."""
        return sum(p.nbytes for p in self.model.parameters())

    @property
    def context_tokens(self) -> int:
        """Longest sequence that the model was made for."""
        return _count_context(self.model.config.get_text_config(decoder=True))

    def refuse_nan(self, values: torch.Tensor) -> None:
        """Nothing that the model says counts if a value is NaN, which no comparison would notice.

        Raises:
            TrainingError: one is. Names the adapter or the model.
        """
        if values.isnan().any():
            raise tell_nan(f"adapter {self.adapter}" if self.adapter else f"student {self.source!r}")

    def encode_by(self, chat: ChatSpec) -> ChatEncoder:
        """The encoder for its tokenizer and vocabulary."""
        return ChatEncoder(
            self.tokenizer,
            chat=chat,
            end_token_ids=list_ends(self.model.generation_config),
            n_embeddings=self.model.get_input_embeddings().weight.shape[0],
        )


def _count_context(config: Any) -> int:
    """Longest context. Beyond its `keep_window_size` (Doge), a model's view of earlier tokens would depend on later ones."""
    limits = (getattr(config, name, 0) for name in ("max_position_embeddings", "keep_window_size"))
    return min((int(limit) for limit in limits if limit), default=2**31)


def choose_device(name: str, number: int = 0) -> torch.device:
    """`auto` uses a GPU if there is one: the one with this number.

    Raises:
        TrainingError: CUDA is asked for, but torch sees none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise TrainingError("compute.device is cuda, but torch sees no CUDA device here. Set it to auto or cpu.")
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    if number:
        torch.cuda.set_device(number)
    return torch.device("cuda")  # the current one


def load_student(name: str, device: torch.device, load_in: LoadIn | None = None) -> Student:
    """The model called `name`: a hub id, a folder, or a `.gguf` file (see `convert_gguf`).

    It is in bf16 on CUDA, and in fp32 on CPU, where bf16 is tens of times slower without bf16 units. `load_in` applies to its linear layers.
    Its generation settings keep only the tokens that start, end and pad a text, so that everything it writes is greedy.

    Raises:
        ConfigError: it is an adapter or has one beside it, needs code of its own, or does not write from left to right.
        TrainingError: it cannot be loaded, or not with `load_in`, or its weights are not whole or give NaN.
    """
    source, revision = find_source(name)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    options = make_4bit_options(device, dtype) if load_in else {}
    _refuse_adapter(name, source, revision)
    with _explain(name):
        tokenizer = load_tokenizer(source, revision)
        model = load_whole(name, source, revision=revision, dtype=dtype, **options)
    keep_one_layout(model)
    model = model.to(device).eval().requires_grad_(False)
    model.generation_config = _keep_tokens(model.generation_config)
    student = Student(source=source, revision=revision, model=model, tokenizer=tokenizer, weights=_find_weights(name))
    logits = try_out(model)
    student.refuse_nan(logits)
    if not reads_one_way(*logits):
        raise ConfigError(_tell_kind(name, model.config.model_type))
    return student


@torch.inference_mode()
def try_out(model: Any) -> torch.Tensor:
    """(2, 7, V) logits of the first tokens of two texts that differ only in their last one."""
    middle = model.config.get_text_config(decoder=True).vocab_size // 2  # the first tokens are often for padding
    texts = (middle + torch.arange(8, device=model.device)).repeat(2, 1)
    texts[1, -1] = middle - 1
    logits: torch.Tensor = model(input_ids=texts, use_cache=False).logits[:, :-1].float()
    return logits


def reads_one_way(first: torch.Tensor, second: torch.Tensor) -> bool:
    """Whether the last token of a text leaves the logits of all earlier ones, found with `try_out`, unchanged.

    BERT and similar models can be loaded as causal ones too, but they see the answer that they should learn to write.
    """
    return bool((first - second).abs().max() <= MAX_CHANGE * first.std())


def tell_nan(whose: str) -> TrainingError:
    """The error for an adapter or a student that cannot be used."""
    return TrainingError(
        f"{whose}: its weights give NaN, because its training diverged or its file is damaged. Train it again with a lower learning"
        " rate, or take another one."
    )


def _tell_kind(name: str, model_type: str) -> str:
    return (
        f"student {name!r} is of the kind {model_type!r}, which does not write texts from left to right. Set student.model to a"
        " causal language model, such as an instruct model of the Llama, Qwen, Gemma or SmolLM families."
    )


def _tell_unmapped(name: str, config: Any) -> str:
    if type(config) not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        return _tell_kind(name, config.model_type)
    return (
        f"student {name!r} is of the kind {config.model_type!r}, which reads images as well as text and is not supported. Set"
        " student.model to a model for text only, such as an instruct model of the Llama, Qwen, Gemma or SmolLM families."
    )


def _refuse_adapter(name: str, source: str, revision: str | None) -> None:
    """transformers would apply an adapter to the untouched model too."""
    with _explain(name):
        found = find_adapter_config_file(source, revision=revision)
    if found:
        raise ConfigError(f"student {tell_adapter(name)}")


def read_tokenizer(name: str) -> tuple[Any, TokenizerFacts]:
    """The student's tokenizer and facts about its configuration, without its weights.

    Raises:
        ConfigError: it is an adapter or has one beside it, needs code of its own, or is known for a model that does not write from left
            to right, or not only text.
        TrainingError: it cannot be loaded.
    """
    source, revision = find_source(name)
    _refuse_adapter(name, source, revision)
    with _explain(name):
        tokenizer = load_tokenizer(source, revision)
        whole = AutoConfig.from_pretrained(source, revision=revision, trust_remote_code=False)
        generation = _read_generation_config(source, revision, whole)
    if type(whole) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise ConfigError(_tell_unmapped(name, whole))
    config = whole.get_text_config(decoder=True)
    facts = TokenizerFacts(
        end_token_ids=tuple(list_ends(generation)),
        n_embeddings=getattr(config, "vocab_size", None),
        context_tokens=_count_context(config),
        splits_otherwise=is_corrected(tokenizer),
    )
    return tokenizer, facts


def save_tokenizer(name: str, folder: Path) -> None:
    """Save the student's tokenizer in a form that needs neither torch nor the model's own class, and facts about its configuration.

    Raises:
        ConfigError, TrainingError: as for `read_tokenizer`.
    """
    tokenizer, facts = read_tokenizer(name)
    if core := getattr(tokenizer, "backend_tokenizer", None):
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=core, chat_template=tokenizer.chat_template, **tokenizer.special_tokens_map
        )
    tokenizer.save_pretrained(folder)
    (folder / TOKENIZER_FACTS).write_text(facts.model_dump_json(), encoding="utf-8")


def draw_model(name: str) -> Any:
    """The model called `name` without weights: its layers and their names, in hardly any memory.

    Raises:
        ConfigError: it needs code of its own.
        TrainingError: its configuration cannot be read.
    """
    source, revision = find_source(name)
    with _explain(name), torch.device("meta"):
        config = AutoConfig.from_pretrained(source, revision=revision, trust_remote_code=False)
        return AutoModelForCausalLM.from_config(config, trust_remote_code=False)


def find_source(name: str) -> tuple[str, str | None]:
    """What `from_pretrained` needs, and the commit of a hub model (`owner/name@commit`). For a GGUF file, its safetensors copy, made on first use."""
    if name.endswith(".gguf"):
        return str(convert_gguf(Path(name))), None
    return split_commit(name)


@contextmanager
def _explain(name: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, ImportError, RuntimeError, SafetensorError, UnpicklingError) as exc:
        if damage := find_damage(Path(name)) or tell_missing_tokenizer(Path(name)):
            raise TrainingError(f"student {damage}") from exc
        if isinstance(exc, RuntimeError):
            raise
        if "trust_remote_code" in str(exc):  # the library advises it, but it cannot be set here
            raise ConfigError(
                f"student {name!r} needs code of its own, which is never run here. Set student.model to a"
                f" model whose architecture is built into transformers {transformers.__version__}."
            ) from exc
        raise TrainingError(f"student {name!r} cannot be loaded: {exc}") from exc


def _read_generation_config(source: str, revision: str | None, config: Any) -> GenerationConfig:
    """The same as that of a loaded model: from its file, otherwise from the model's own settings."""
    try:
        return GenerationConfig.from_pretrained(source, revision=revision)
    except OSError:
        return GenerationConfig.from_model_config(config)


def _keep_tokens(generation: GenerationConfig) -> GenerationConfig:
    """Leave out sampling, beams, penalties and the like, which `generate` would take from the model where a call leaves them unset."""
    names = ("bos_token_id", "eos_token_id", "pad_token_id")
    return GenerationConfig(**{name: getattr(generation, name) for name in names})


def list_ends(generation: GenerationConfig | None) -> list[int]:
    """Token ids that generation settings name as ends."""
    eos = getattr(generation, "eos_token_id", None)
    return [eos] if isinstance(eos, int) else eos or []


def hash_weights(files: tuple[Path, ...]) -> dict[str, str]:
    """SHA-256 by file name."""
    return {file.name: hash_once(file) for file in files}


def _find_weights(name: str) -> tuple[Path, ...]:
    if Path(name).is_file():
        return (Path(name),)
    source, revision = find_source(name)
    folder = (
        Path(name) if Path(name).is_dir() else Path(snapshot_download(source, revision=revision, local_files_only=True))
    )
    return tuple(sorted(file for file in folder.iterdir() if file.suffix in {".safetensors", ".bin"}))


def convert_gguf(file: Path) -> Path:
    """The folder next to `file` with its weights as fp32 safetensors and its tokenizer. Made on first use, and again if the file changed.

    Reading a GGUF takes tens of seconds, reading the copy less than one.

    Raises:
        TrainingError: there is no such file, or it is not a GGUF of a causal language model, or not one that can be read right.
    """
    folder = file.with_name(f"{file.name}-fp32")
    if not file.is_file():
        raise TrainingError(f"student file {file} does not exist")
    if _is_copy(folder, file):
        return folder
    partial = file.with_name(f".{folder.name}.{os.getpid()}")
    try:
        with _locked(file.with_name(f".{folder.name}.lock")):
            if _is_copy(folder, file):  # another process made it in the meantime, and may be reading it
                return folder
            sha256 = hash_once(file)
            _write_dequantized(file, partial)
            (partial / SOURCE_HASH).write_text(f"{sha256} {READING}", encoding="utf-8")
            rmtree(folder, ignore_errors=True)
            replace_durably(partial, folder)
    except (OSError, ValueError, LookupError, TypeError, struct.error) as exc:
        damaged = "" if isinstance(exc, OSError) and exc.errno else " If it is damaged or cut off, fetch it again."
        raise TrainingError(f"student file {file} cannot be converted to safetensors: {exc}.{damaged}") from exc
    finally:
        rmtree(partial, ignore_errors=True)
    return folder


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock file at `path`, then remove it. Whoever waited for it has to check again whether the work is done."""
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError as exc:
            raise TrainingError(f"student file in {path.parent}: {tell_no_locks(exc)}") from exc
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _is_copy(folder: Path, file: Path) -> bool:
    """Whether the folder was made from the file's present content, as it is read now. Times say nothing: a file that is moved in keeps its own."""
    made_from = folder / SOURCE_HASH
    return made_from.is_file() and made_from.read_text(encoding="utf-8") == f"{hash_once(file)} {READING}"


def read_gguf(file: Path) -> tuple[Any, Any]:
    """Model, dequantized to fp32, and tokenizer.

    Raises:
        TrainingError: weights are missing or would be left out, its rotary embeddings cannot be computed, or its tokenizer splits texts in
            an unknown way.
    """
    source: dict[str, Any] = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    reader = gguf.GGUFReader(file)
    tokenizer = AutoTokenizer.from_pretrained(**source, trust_remote_code=False)
    split_as_llama_cpp(tokenizer, reader, file)
    config = AutoConfig.from_pretrained(**source, trust_remote_code=False)
    complete_rope(config, reader, file)
    options = {"gguf_file": file.name, "config": config, "dtype": torch.float32, **_dequantize_option()}
    model = load_whole(str(file), str(file.parent), **options)
    refuse_left_out(model, reader, file)
    return model, tokenizer


def _write_dequantized(file: Path, folder: Path) -> None:
    """Save the model and its tokenizer. transformers refuses to save a model read from a GGUF until its quantization markers are removed."""
    model, tokenizer = read_gguf(file)
    model.hf_quantizer = None
    model.is_quantized = False
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _dequantize_option() -> dict[str, Any]:
    """Newer transformers keep the blocks packed if a kernel for them is installed, but packed layers cannot take LoRA."""
    config = getattr(transformers, "GgufConfig", None)
    return {"quantization_config": config(dequantize=True)} if config else {}
