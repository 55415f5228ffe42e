"""What the compute backend is asked to do with the student. A job's id is a hash of its spec."""

from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, Field, JsonValue, ValidationError

from pada_agent.core.damage import word_damage
from pada_agent.core.errors import ArtifactError
from pada_agent.core.records import Record

PREDICTIONS = "predictions.jsonl"
"""What a prediction job leaves: one `Prediction` a row, in the order of the rows."""

TRAIN_METRICS = "train_metrics.json"
"""What a fine-tuning leaves beside the adapter: steps, losses, seconds, tokens. Times differ from one run to the next."""

EXPORT_REPORT = "export.json"
"""What an export leaves beside the model: how many rows both answered alike."""

LAST_GOOD = "last_good"
"""Folder of the adapter before the loss stopped being finite."""


class TrainMetrics(Record):
    """What stands in `TRAIN_METRICS`, as far as others read it; empty where the compute backend did not note it."""

    model_config = ConfigDict(extra="ignore")

    n_steps: int | None = None
    """Optimizer steps."""
    losses: tuple[float, ...] = ()
    """By step."""
    seconds: float | None = None
    tokens_per_second: float | None = None
    base_sha256: dict[str, str] = Field(default_factory=dict)
    """Of the student's weights, by file name."""


def read_train_metrics(adapter: Path) -> TrainMetrics:
    """What a fine-tuning noted beside its adapter.

    Raises:
        ArtifactError: damaged.
    """
    path = adapter / TRAIN_METRICS
    try:
        return TrainMetrics.model_validate_json(path.read_bytes()) if path.exists() else TrainMetrics()
    except (OSError, ValidationError) as exc:
        raise ArtifactError(
            f"{path}: damaged ({word_damage(exc)}). Delete it: the run continues without these figures."
        ) from exc


class LoraSpec(Record):
    """LoRA fine-tuning, defaults as in the paper."""

    model_config = ConfigDict(use_attribute_docstrings=True, allow_inf_nan=False)

    rank: int = Field(default=32, ge=1)
    """Rank r of the update (paper: 32)."""
    alpha: int = Field(default=32, ge=1)
    """Scale: the update is multiplied by alpha / rank (paper: 32)."""
    dropout: float = Field(default=0.05, ge=0, lt=1)
    """Share of inputs of the update that are dropped in training (paper: 0.05)."""
    target_modules: str = "all-linear"
    """`all-linear`, or module names joined by commas."""
    epochs: float = Field(default=5, gt=0)
    """Passes over the training rows (paper: 5)."""
    learning_rate: float = Field(default=2e-4, gt=0)
    """Peak, Adam (paper: 2e-4)."""
    warmup_ratio: float = Field(default=0.03, ge=0, le=1)
    """Share of the steps over which the learning rate rises from 0. Ours."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Per step, decoupled (AdamW). Ours: none."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """L2 norm to which gradients are clipped. Ours."""
    batch_size: int = Field(default=8, ge=1)
    """Sequences per optimizer step (effective)."""
    micro_batch_tokens: int = Field(default=2048, ge=1)
    """Upper bound on tokens per forward pass (on CPU 512 at most); steps larger than that accumulate."""
    max_length: int = Field(default=1024, ge=2)
    """Tokens of prompt and answer."""
    on_too_long: Literal["error", "truncate"] = "error"
    """`truncate` cuts the prompt from the left, never the answer."""
    scheduler: Literal["linear", "cosine", "constant"] = "linear"
    """Course of the learning rate after the warm-up. Ours: linear to 0."""
    n_steps: int | None = Field(default=None, ge=1)
    """A fixed number of optimizer steps, in place of `epochs`; null counts epochs."""


class ChatSpec(Record):
    """How a row is put into the student's chat format: the same in training, in scoring and in generation."""

    system: str | None = None
    """System turn; None leaves the template's default, an empty text asks for none."""
    template: str | None = None
    """Text of a chat template; None takes the tokenizer's own."""
    arguments: dict[str, JsonValue] = Field(default_factory=dict)
    """Variables of the template, such as `enable_thinking`."""
    control_tokens_in_rows: bool = False
    """Whether the name of a control token in a row's text becomes that token."""
    thoughts: Literal["close", "open"] = "close"
    """What becomes of a thought that the template opens where the assistant starts."""


class FineTuneJob(Record):
    """Fine-tune the student on rows of `Example` JSON Lines; the output folder holds a PEFT adapter."""

    kind: Literal["fine_tune"] = "fine_tune"
    student: str
    """Model store name, hub id or folder."""
    rows: str
    """Path of the training rows."""
    rows_hash: str
    """Content hash: this, not the path, addresses the job."""
    lora: LoraSpec
    chat: ChatSpec = ChatSpec()
    seed: int = 0
    start_from: str | None = None
    """Adapter folder to continue from; None starts from the base model."""


class PredictJob(Record):
    """Answer rows of `Example` JSON Lines; the output folder holds `predictions.jsonl` in the order of the rows."""

    kind: Literal["predict"] = "predict"
    student: str
    adapter: str | None = None
    """Adapter folder; None predicts with the untouched model."""
    adapter_hash: str | None = None
    rows: str
    rows_hash: str
    max_new_tokens: int = 256
    stop: tuple[str, ...] = ()
    """Generation stops before the first of these strings."""
    batch_size: int = 64
    chat: ChatSpec = ChatSpec()


class ExportJob(Record):
    """Merge an adapter into the student; the output folder holds the model and `export.json`, the result of reading it back."""

    kind: Literal["export"] = "export"
    student: str
    adapter: str
    adapter_hash: str | None = None
    format: Literal["safetensors", "gguf"]
    """`gguf` needs a student that came as one: its tokenizer and metadata are taken over."""
    rows: str
    """Rows that the merged model and the written one both answer."""
    rows_hash: str
    max_new_tokens: int = 32
    chat: ChatSpec = ChatSpec()


TOKENIZER_FACTS = "student.json"
"""File beside a tokenizer that holds `TokenizerFacts`."""


class TokenizerFacts(Record):
    """What a `TokenizerJob` tells of the student beside its tokenizer."""

    end_token_ids: tuple[int, ...]
    """Those that its generation settings name."""
    n_embeddings: int | None
    """Tokens it has vectors for."""
    context_tokens: int


class TokenizerJob(Record):
    """Read the student's tokenizer; the output folder holds it and `TokenizerFacts`, to be read without torch. No weights are loaded."""

    kind: Literal["tokenizer"] = "tokenizer"
    student: str


Job = FineTuneJob | PredictJob | ExportJob | TokenizerJob
