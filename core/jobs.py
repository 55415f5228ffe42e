"""What the compute backend is asked to do with the student. A job's id is a hash of its spec."""

import math
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    ConfigDict,
    Field,
    JsonValue,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from pada_agent.core.damage import refuse_unread, word_damage
from pada_agent.core.errors import ArtifactError
from pada_agent.core.records import Record

PREDICTIONS = "predictions.jsonl"
"""File that a prediction job writes: one `Prediction` per row, in the order of the rows."""

TRAIN_METRICS = "train_metrics.json"
"""File that a fine-tuning writes next to the adapter: steps, losses, seconds, tokens. Times differ between runs."""

EXPORT_REPORT = "export.json"
"""File that an export writes next to the model: on how many rows both gave the same answers."""

LAST_GOOD = "last_good"
"""Folder with the adapter from before the loss stopped being finite."""

LoadIn = Literal["4bit"]
"""How the student's weights are kept in memory, if not as bf16 or fp32."""

NEEDS_QLORA = "student.load_in: 4bit needs bitsandbytes where the student is trained. Get it with: pip install 'pada-agent[qlora]'"


class TrainMetrics(Record):
    """The part of `TRAIN_METRICS` that other code reads. Fields that the compute backend did not report stay empty."""

    model_config = ConfigDict(extra="ignore")

    n_steps: int | None = None
    """Number of optimizer steps."""
    losses: tuple[float, ...] = ()
    """One per step."""
    seconds: float | None = None
    tokens_per_second: float | None = None
    base_sha256: dict[str, str] = Field(default_factory=dict)
    """SHA-256 of the student's weights, by file name."""


def read_train_metrics(adapter: Path) -> TrainMetrics:
    """The metrics that a fine-tuning wrote next to its adapter.

    Raises:
        ArtifactError: the file is damaged, or cannot be read.
    """
    path = adapter / TRAIN_METRICS
    try:
        return TrainMetrics.model_validate_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return TrainMetrics()
    except OSError as exc:
        raise refuse_unread(path, exc) from exc
    except ValidationError as exc:
        raise ArtifactError(
            f"{path}: damaged ({word_damage(exc)}). Delete it: the run continues without these figures."
        ) from exc


class LoraSpec(Record):
    """LoRA fine-tuning. The defaults are the paper's where it gives them."""

    model_config = ConfigDict(use_attribute_docstrings=True, allow_inf_nan=False)

    rank: int = Field(default=32, ge=1)
    """Rank r of the LoRA update (paper: 32)."""
    alpha: int = Field(default=32, ge=1)
    """Scaling: the update is multiplied by alpha / rank (paper: 32)."""
    dropout: float = Field(default=0.05, ge=0, lt=1)
    """Fraction of the update's inputs that are dropped during training (paper: 0.05)."""
    target_modules: str = "all-linear"
    """Layers to adapt: `all-linear`, or module names separated by commas. `all-linear` leaves out the output layer, the experts and routers of
    mixtures, and layers that PEFT cannot adapt."""
    rslora: bool = False
    """Multiply the update by alpha / sqrt(rank) instead of alpha / rank (rsLoRA, arXiv 2312.03732), which keeps high ranks effective."""
    dora: bool = False
    """Learn magnitude and direction of the weights separately (DoRA, arXiv 2402.09353). Slower, and vLLM cannot serve such adapters."""
    init: Literal["default", "gaussian", "orthogonal"] = "default"
    """How PEFT draws the adapter's first weights: `default` (Kaiming uniform), `gaussian` or `orthogonal`, which needs an even rank. In all three
    the model answers as before until the first step."""
    gradient_checkpointing: bool | Literal["auto"] = "auto"
    """Compute each layer's activations again in the backward pass instead of keeping them: far less memory, up to 60% more time, the same
    adapter. `auto` does so on CPU for rows of more than 1,024 tokens. Up to 2,048 tokens, it keeps what matrix products and attention give:
    half of the memory, about a fifth more time."""
    epochs: float = Field(default=5, gt=0, le=10_000)
    """Number of passes over the training rows (paper: 5)."""
    learning_rate: float = Field(default=2e-4, gt=0)
    """Peak learning rate of the Adam optimizer (paper: 2e-4)."""
    warmup_ratio: float = Field(default=0.03, ge=0, le=1)
    """Fraction of the steps over which the learning rate rises from 0. Our default: 0.03."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Decoupled weight decay per step (AdamW). Our default: none."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """L2 norm to which gradients are clipped. Our default: 1."""
    batch_size: int = Field(default=8, ge=1)
    """Effective batch size: sequences per optimizer step."""
    micro_batch_tokens: int = Field(default=2048, ge=1)
    """Maximum number of tokens per forward pass (on CPU, 512 at most). Larger steps accumulate gradients."""
    max_length: int = Field(default=1024, ge=2)
    """Maximum length of a training row in tokens, prompt and answer together."""
    on_too_long: Literal["error", "truncate"] = "error"
    """What to do with longer rows: stop with an error, or `truncate` the prompt from the left. Answers are never cut."""
    scheduler: Literal["linear", "cosine", "constant"] = "linear"
    """Shape of the learning rate after the warm-up. Our default: linear, down to 0."""
    n_steps: int | None = Field(default=None, ge=1)
    """Fixed number of optimizer steps, used instead of `epochs`. Set it to compare models trained on different numbers of rows. Null uses
    `epochs`."""

    @model_validator(mode="after")
    def _check_rank(self) -> "LoraSpec":
        if self.init == "orthogonal" and self.rank % 2:
            raise ValueError(f"init: orthogonal needs an even rank, not {self.rank}")
        return self

    def count_steps(self, n_rows: int) -> int:
        """Number of optimizer steps of a fine-tuning on `n_rows` rows."""
        if self.n_steps is not None:
            return self.n_steps
        return max(1, round(self.epochs * math.ceil(n_rows / self.batch_size)))


class ChatSpec(Record):
    """How a row is rendered in the student's chat format; the same in training, scoring and generation."""

    system: str | None = None
    """System turn. None keeps the template's default; an empty text sends none."""
    template: str | None = None
    """Text of a chat template. None uses the tokenizer's own."""
    arguments: dict[str, JsonValue] = Field(default_factory=dict)
    """Variables of the template, such as `enable_thinking`."""
    control_tokens_in_rows: bool = False
    """Whether the name of a control token in a row's text becomes that token."""
    thoughts: Literal["close", "open"] = "close"
    """What happens to a thought that the template opens where the assistant starts."""
    rendering: Literal[1, 2, 3] = 1
    """Only tells results apart. 2 or 3 for students whose answers were once learned and read in another way: `TokenCounter.rendering` says which."""

    @model_serializer(mode="wrap")
    def _leave_out_the_first(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Results that are rendered as ever keep their ids."""
        fields: dict[str, Any] = write(self)
        if fields.get("rendering") == 1:
            del fields["rendering"]
        return fields


class FineTuneJob(Record):
    """Fine-tune the student on rows (JSON Lines of `Example`). The output folder contains a PEFT adapter."""

    kind: Literal["fine_tune"] = "fine_tune"
    student: str
    """Model store name, hub id or folder."""
    rows: str
    """Path of the training rows."""
    rows_hash: str
    """Content hash of the rows. The job's id depends on this and not on the path."""
    lora: LoraSpec
    load_in: LoadIn | None = None
    chat: ChatSpec = ChatSpec()
    seed: int = 0
    n_processes: int = Field(default=1, ge=1)
    """Processes that share the work, each on a device of its own."""
    start_from: str | None = None
    """Adapter folder to continue from; None starts from the base model."""


class PredictJob(Record):
    """Answer rows (JSON Lines of `Example`). The output folder contains `predictions.jsonl`, in the order of the rows."""

    kind: Literal["predict"] = "predict"
    student: str
    adapter: str | None = None
    """Adapter folder; None predicts with the untouched model."""
    adapter_hash: str | None = None
    load_in: LoadIn | None = None
    rows: str
    rows_hash: str
    max_new_tokens: int = 256
    stop: tuple[str, ...] = ()
    """Generation stops before the first of these strings."""
    batch_size: int = 64
    chat: ChatSpec = ChatSpec()
    engine: Literal["own", "vllm"] = "own"
    """What writes the answers of rows without options."""


class ExportJob(Record):
    """Merge an adapter into the student, in full precision. The output folder contains the model and `export.json`, the result of reading it
    back."""

    kind: Literal["export"] = "export"
    student: str
    adapter: str
    adapter_hash: str | None = None
    format: Literal["safetensors", "gguf"]
    """`gguf` requires a student that is a GGUF file, because its tokenizer and metadata are copied."""
    rows: str
    """Rows that both the merged model and the written one answer, to compare them."""
    rows_hash: str
    max_new_tokens: int = 32
    chat: ChatSpec = ChatSpec()
    any_weights: bool = False
    """Whether the student may have other weights than those that the adapter was trained on."""


TOKENIZER_FACTS = "student.json"
"""File next to a tokenizer that contains `TokenizerFacts`."""


class TokenizerFacts(Record):
    """What a `TokenizerJob` says about the student besides its tokenizer."""

    end_token_ids: tuple[int, ...]
    """Token ids that the student's generation settings name as ends."""
    n_embeddings: int | None
    """Number of token ids that the student has embeddings for. None if unknown."""
    context_tokens: int
    splits_otherwise: bool = False
    """Whether texts were once split in another way than the tokenizer's own, which transformers alone would do."""


class TokenizerJob(Record):
    """Read the student's tokenizer, without loading weights. The output folder contains it and `TokenizerFacts`, readable without torch.

    A run begins with this job, so it fails if the machine that runs it cannot do what later jobs will ask.
    """

    kind: Literal["tokenizer"] = "tokenizer"
    student: str
    target_modules: str = "all-linear"
    """Layers that `LoraSpec.target_modules` names. The job fails if the student does not have them."""
    load_in: LoadIn | None = None
    """The job fails if the student cannot be loaded so."""
    engine: Literal["own", "vllm"] = "own"
    """The job fails if this engine is not installed, or not for the device."""
    n_processes: int = Field(default=1, ge=1)
    """The job fails if a fine-tuning in so many processes would need more GPUs than there are."""
    reading: Literal[1, 2] = 1
    """Only tells results apart. Runs ask for 2, because tokenizers were once read in another way."""


Job = FineTuneJob | PredictJob | ExportJob | TokenizerJob


def advise_on_memory(job: Job) -> str:
    """How the job could do with less memory."""
    if isinstance(job, FineTuneJob):
        return "lower lora.micro_batch_tokens, choose a smaller student, or close other programs"
    if isinstance(job, PredictJob) and job.engine == "own":
        return "lower student.eval_batch_size, choose a smaller student, or close other programs"
    return "choose a smaller student, use a machine with more memory, or close other programs"
