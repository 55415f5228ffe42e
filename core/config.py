"""The settings of a run. Every field says its unit, its meaning and where its default comes from."""

from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from pada_agent.core.errors import ConfigError
from pada_agent.core.ports import LoraSpec


class Settings(BaseModel):
    """Base of all settings groups: frozen, unknown keys refused, literals under fields become their description."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        validate_default=True,
        use_attribute_docstrings=True,
        hide_input_in_errors=True,  # it may be a key put in the wrong place
    )


class TaskConfig(Settings):
    """What is asked and what counts as right."""

    name: str = "multiple_choice"
    """Built-in task or an entry point of the group `pada_agent.tasks`."""
    answers: Literal["text", "label"] = "text"
    """Multiple choice: `text` picks the option's text by length-normalized likelihood, `label` has the student write the option's label."""
    instruction: str = ""
    """Put before every question, in training and in evaluation alike."""
    labels: dict[str, str] = Field(default_factory=dict)
    """Closed label set, label to definition, for rows that do not carry their own choices. The teacher sees the definitions, the student the labels at most."""
    columns: dict[str, str] = Field(default_factory=dict)
    """Our field name to the column that holds it, e.g. `{question: text, answer: queue}`."""
    description: str = ""
    """One or two sentences for the LLM agents: what the task is and who asks."""


class DataConfig(Settings):
    """Where rows come from: a `.jsonl`, `.csv` or `.parquet` path, or `hub:owner/name[:config]/split`."""

    train: str = ""
    validation: str = ""
    test: str = ""
    """Read once, at the end. Empty: no test figures."""
    train_limit: int | None = Field(default=None, ge=1)
    """Rows, from the top of the file."""
    validation_limit: int | None = Field(default=None, ge=2)
    test_limit: int | None = Field(default=None, ge=1)
    selection_fraction: float = Field(default=0.5, gt=0, lt=1)
    """Part of validation that selects the best model; the rest is diagnosed. Ours: guards against adaptive overfitting."""
    on_overlap: Literal["error", "drop"] = "error"
    """Training rows that also stand in validation or test: stop, or drop them from training."""


class StudentConfig(Settings):
    """The small language model."""

    model: str = "smollm2-135m-instruct"
    """Name in the model store, hub id, or folder."""
    system: str | None = None
    """System turn; null keeps the tokenizer's default, an empty string asks for none."""
    max_new_tokens: int | None = Field(default=None, ge=1)
    """Tokens; null takes the task's own limit."""
    eval_batch_size: int = Field(default=16, ge=1)


class ModelConfig(Settings):
    """One LLM role."""

    model: str
    """`bedrock_converse:…`, `openai:…`, `local:…` (embedded llama.cpp), or with base_url any OpenAI-compatible server."""
    base_url: str | None = None
    api_key_env: str | None = None
    """Name of the environment variable that holds the key. Keys themselves never stand in settings."""
    max_output_tokens: int = Field(default=2048, ge=16)
    timeout_seconds: float = Field(default=300, gt=0)
    max_concurrency: int = Field(default=8, ge=1)
    requests_per_minute: int | None = Field(default=None, ge=1)
    tokens_per_minute: int | None = Field(default=None, ge=1)
    usd_per_million_input_tokens: float = Field(default=0, ge=0)
    usd_per_million_output_tokens: float = Field(default=0, ge=0)
    native_json_schema: bool | None = None
    """Ask the provider to constrain output to the schema; null: where it is known to work."""
    region: str | None = None
    """AWS region, Bedrock only."""
    context_tokens: int = Field(default=4096, ge=512)
    """Tokens per request slot, embedded engine only."""

    @field_validator("base_url")
    @classmethod
    def _refuse_credentials(cls, url: str | None) -> str | None:
        if url is not None and "@" in urlsplit(url).netloc:
            raise ValueError("a URL without user and password is expected; api_key_env names the key's variable")
        return url


class ModelsConfig(Settings):
    """The three LLM roles; defaults are the paper's models on Bedrock."""

    analyst: ModelConfig = ModelConfig(model="bedrock_converse:us.meta.llama3-3-70b-instruct-v1:0")
    generator: ModelConfig = ModelConfig(model="bedrock_converse:us.meta.llama3-3-70b-instruct-v1:0")
    judge: ModelConfig = ModelConfig(model="bedrock_converse:us.anthropic.claude-3-5-haiku-20241022-v1:0")
    embedder: str = "all-mpnet-base-v2"
    """Sentence encoder: model store name, hub id or folder (the paper's)."""


class AnalysisConfig(Settings):
    """Pattern analysis."""

    max_errors: int = Field(default=50, ge=1)
    """Validation errors sampled for analysis (paper: 50)."""
    errors_per_call: int = Field(default=5, ge=1)
    min_clusters: int = Field(default=2, ge=1)
    max_clusters: int = Field(default=10, ge=1)
    """Range of K for the elbow rule (paper: 2 to 10)."""
    max_training_errors: int | None = Field(default=None, ge=1)
    """Training rows are answered in random order until that many are wrong; null answers all of them (paper)."""


class GenerationConfig(Settings):
    """Synthetic data."""

    share: float = Field(default=0.5, gt=0)
    """Synthetic rows per training row (paper: 0.5)."""
    pattern_share: float = Field(default=0.5, ge=0, le=1)
    """Part of them from the pattern branch, the rest from training errors. Ours: half and half."""
    rows_per_call: int = Field(default=5, ge=1)
    """B of the paper."""
    temperature: float = Field(default=0.7, ge=0)
    show_answer: bool = True
    """The training-error writer sees the right answer of its source."""
    accumulate: bool = True
    """Synthetic rows of earlier iterations stay in training."""
    near_duplicate_rouge: float = Field(default=0.85, gt=0, le=1)
    """ROUGE-L F above which two questions count as near duplicates."""


class QualityConfig(Settings):
    """Quality control."""

    enabled: bool = True
    threshold: float = Field(default=7, ge=1, le=10)
    """Mean rating a batch must reach (paper: 7 of 10)."""
    max_regenerations: int = Field(default=3, ge=0)
    """Times a weak batch goes back (paper: 3)."""
    rows_per_call: int | None = Field(default=None, ge=1)
    """Rows the judge sees at once; null: the whole batch (paper). A small judge needs 1: it gives neighbours the same score."""


class LoopConfig(Settings):
    """The outer loop."""

    max_iterations: int = Field(default=3, ge=0)
    """Augmentation rounds after the first fine-tuning; 0 only fine-tunes and evaluates. Ours: 3."""
    patience: int = Field(default=1, ge=1)
    """Rounds without improvement on the selection part before stopping."""
    start_from: Literal["base", "best"] = "base"
    """Fine-tune each round from the untouched model (default), or continue the best adapter."""


class BudgetConfig(Settings):
    """Hard limits on LLM use; null is no limit."""

    max_calls: int | None = Field(default=None, ge=0)
    max_tokens: int | None = Field(default=None, ge=0)
    """Input and output tokens together."""
    max_usd: float | None = Field(default=None, ge=0)


class ReviewConfig(Settings):
    """Where the run waits for a person."""

    strategies: bool = False
    """Interrupt after strategy drafting: approve, edit, drop or add."""
    data: bool = False
    """Interrupt before the accepted rows join the training data."""


class ComputeConfig(Settings):
    """Where the student trains."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int | None = Field(default=None, ge=1)
    """CPU threads of the worker; null takes all cores."""


class RunConfig(Settings):
    """One run, whole. `pada config show` prints it with every default."""

    name: str = Field(default="run", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Folder under `runs_folder`."""
    runs_folder: str = "runs"
    seed: int = 0
    task: TaskConfig = TaskConfig()
    data: DataConfig = DataConfig()
    student: StudentConfig = StudentConfig()
    lora: LoraSpec = LoraSpec()
    models: ModelsConfig = ModelsConfig()
    analysis: AnalysisConfig = AnalysisConfig()
    generation: GenerationConfig = GenerationConfig()
    quality: QualityConfig = QualityConfig()
    loop: LoopConfig = LoopConfig()
    budget: BudgetConfig = BudgetConfig()
    review: ReviewConfig = ReviewConfig()
    compute: ComputeConfig = ComputeConfig()
    prompts: dict[str, str] = Field(default_factory=dict)
    """Template name (e.g. `error_analysis`) to a Jinja text that replaces ours."""

    @model_validator(mode="after")
    def _check_clusters(self) -> "RunConfig":
        if self.analysis.min_clusters > self.analysis.max_clusters:
            raise ValueError("analysis.min_clusters is larger than analysis.max_clusters")
        return self


def parse_config(values: dict[str, Any], *, origin: str) -> RunConfig:
    """Validate settings.

    Raises:
        ConfigError: one line per problem, each with `origin` and the key.
    """
    try:
        return RunConfig.model_validate(values)
    except ValidationError as exc:
        lines = [f"{origin}: {'.'.join(map(str, e['loc'])) or '(top level)'}: {e['msg']}" for e in exc.errors()]
        raise ConfigError("\n".join(lines)) from exc


def load_config(path: Path, overrides: list[str] | None = None) -> RunConfig:
    """Read a YAML file; `overrides` are `a.b=value` with YAML values. Data paths stay relative to the working directory.

    Raises:
        ConfigError: no such file, not YAML, not a mapping, or invalid values.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except OSError as exc:
        raise ConfigError(
            f"{path}: cannot be read ({exc.strerror}). Give the path of a YAML file; configs/ holds some."
        ) from exc
    except yaml.YAMLError as exc:
        raise ConfigError(f"{path}: not valid YAML: {exc}") from exc
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected a mapping of settings, found {type(values).__name__}")
    for override in overrides or []:
        values = apply_override(values, override)
    return parse_config(values, origin=str(path))


def apply_override(values: dict[str, Any], override: str) -> dict[str, Any]:
    """A copy of `values` with `a.b=value` set.

    Raises:
        ConfigError: no `=`, or a key under something that is not a group.
    """
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set {override}: expected key=value, e.g. --set loop.max_iterations=2")
    head, _, rest = key.partition(".")
    if not rest:
        return {**values, head: yaml.safe_load(text)}
    inner = values.get(head) or {}
    if not isinstance(inner, dict):
        raise ConfigError(f"--set {override}: {head} is a value, not a group")
    return {**values, head: apply_override(inner, f"{rest}={text}")}
