"""What the rooms below `app` need from the world, as Protocols. `app.wiring` supplies the real ones, tests their own."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from pydantic import ConfigDict, Field, model_validator

from pada_agent.core.records import Record, Usage

R = TypeVar("R", bound=Record)

Role = Literal["analyst", "generator", "judge"]


class Message(Record):
    """One chat turn."""

    role: Literal["system", "user", "assistant"]
    content: str


class ChatRequest(Record):
    """One call of an LLM. Equal requests give the cached reply; `draw` and `attempt` tell equal-looking ones apart."""

    messages: tuple[Message, ...]
    temperature: float = 0.0
    max_output_tokens: int = 1024
    json_schema: dict[str, Any] | None = None
    """Asked of providers that can constrain their output; the prompt shows it in any case."""
    draw: str = ""
    """Distinguishes samples at temperature > 0: batch id and regeneration."""
    attempt: int = 0
    """Re-ask within one structured call."""
    tags: dict[str, str | int] = Field(default_factory=dict)
    """Agent, iteration, batch: for tracing and accounting. Not part of the cache key."""


class ChatReply(Record):
    """The LLM's text and what it cost."""

    text: str
    usage: Usage
    truncated: bool = False
    cached: bool = False
    key: str = ""
    """Key of the call in the response cache."""


class LanguageModel(Protocol):
    """A chat model. Thread-safe: nodes call it from several threads; limits and retries are its own affair."""

    @property
    def name(self) -> str: ...

    @property
    def family(self) -> str:
        """Vendor family such as `qwen`, `llama`, `claude`: a judge should be of another one than the generator."""
        ...

    def complete(self, request: ChatRequest) -> ChatReply:
        """Answer.

        Raises:
            ModelUnavailableError: after the adapter's own retries.
            BudgetExceededError: before a call that the budget does not allow.
        """
        ...

    def close(self) -> None:
        """Let go of what the model holds."""
        ...


class Embedder(Protocol):
    """Sentence vectors."""

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """Unit vectors, one per text, in order."""
        ...


class DatasetSource(Protocol):
    """Raw rows by location: a path, a hub id, or rows in memory."""

    def read(self, location: str, *, limit: int | None = None) -> list["RawRow"]:
        """The first `limit` rows.

        Raises:
            DatasetError: names the file and line.
        """
        ...

    def accept(self, rows: Sequence[Mapping[str, Any]], *, location: str, limit: int | None = None) -> list["RawRow"]:
        """The first `limit` of rows that came along with the input; `location` is what errors call it.

        Raises:
            DatasetError: names the row.
        """
        ...


class RawRow(Record):
    """A row as its file holds it, and where that was (`train.jsonl:17`)."""

    where: str
    fields: dict[str, Any]


class LoraSpec(Record):
    """LoRA fine-tuning, defaults as in the paper."""

    model_config = ConfigDict(use_attribute_docstrings=True)

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
    system: str | None = None
    """System turn; None leaves the tokenizer's default."""
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
    system: str | None = None


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
    system: str | None = None


Job = FineTuneJob | PredictJob | ExportJob


class Progress(Record):
    """How far a stage is: the `custom` stream of the graph, and a job's progress. docs/events.md explains it."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    stage: str
    """Node or job: `fine_tune`, `predict`, `load`, `error_analysis`, `quality_control`, `finish` and so on."""
    done: int
    """Steps or rows behind us, in `unit`. The stage is over when it reaches `total`."""
    total: int
    """Steps or rows of the whole stage, in `unit`."""
    rate: float | None = None
    """`unit` per second; null before it can be told."""
    unit: str = ""
    """`steps`, `rows`, …; empty where nothing is counted."""
    seconds_left: float | None = None
    """Seconds until `total` at this rate; null without a rate."""
    counts: dict[str, int] = Field(default_factory=dict)
    """Figures of the stage by name, such as rows `accepted` and `rejected`."""
    cost_usd: float | None = None
    """US dollars of LLM use in the run so far, in stages that call an LLM; null in the others."""
    detail: str = ""
    """For a person."""

    @model_validator(mode="before")
    @classmethod
    def _tell_time_left(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("rate") and values.get("seconds_left") is None:
            return {**values, "seconds_left": max(values["total"] - values["done"], 0) / values["rate"]}
        return values


class Compute(Protocol):
    """Runs jobs on the student, on this machine or another. Job ids are hashes of the spec: submitting twice re-attaches."""

    def submit(self, job: Job) -> str:
        """Hand the job over, unless it is finished or running; its id. It may start only when it is waited for."""
        ...

    def wait(self, job_id: str, on_progress: Callable[[Progress], None]) -> Path:
        """Block until done; the folder with the outputs.

        Raises:
            TrainingError: with the worker's own words.
        """
        ...

    def cancel(self, job_id: str) -> None:
        """End the job within seconds; what it had not finished is dropped."""
        ...

    def close(self) -> None: ...


class ArtifactStore(Protocol):
    """Objects addressed by a hash of what they were made from. Writes are atomic."""

    def key(self, kind: str, *inputs: object) -> str:
        """Address of the object that `kind` makes from `inputs` (JSON-able values or records)."""
        ...

    def has(self, key: str) -> bool: ...

    def folder(self, key: str) -> Path: ...

    def write_rows(self, key: str, rows: Sequence[Record]) -> Path:
        """Store records as JSON Lines; the file's path."""
        ...

    def read_rows(self, key: str, kind: type[R]) -> list[R]: ...

    def rows_path(self, key: str) -> Path: ...

    def write_json(self, key: str, value: Mapping[str, Any]) -> Path: ...

    def read_json(self, key: str) -> dict[str, Any]: ...
