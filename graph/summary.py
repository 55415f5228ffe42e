"""The machine-readable result of a run: what `summary.json` holds, and what reports and other programs read."""

from typing import Any, Literal, Self

from pydantic import AliasChoices, Field, model_validator

from pada_agent.agents.pattern_analysis.pattern_tracking import PatternOutcome
from pada_agent.agents.quality_control.judge_calibration import JudgeCalibration
from pada_agent.agents.quality_control.rating_spread import RatingSpread
from pada_agent.core.groupings import Sensitivity
from pada_agent.core.records import BatchReport, ErrorPattern, Metrics, NearText, Record, Ref, Strategy, Usage
from pada_agent.graph.reviewing import Review


class ModelResult(Record):
    """One measured model."""

    name: str
    """`untouched`, `fine-tuned`, `iteration 1` and so on."""
    iteration: int | None
    """None for the untouched model, 0 for the first fine-tuning."""
    n_train_rows: int
    """Rows it was trained on, the synthetic ones included; 0 for the untouched model."""
    n_synthetic: int
    n_steps: int | None = None
    """Optimizer steps trained; None for the untouched model, and where the compute backend noted none."""
    validation: Metrics
    """On all of validation: the part that is diagnosed and the part that selects."""
    selection: Metrics
    diagnosis: Metrics | None = None
    """On the part whose errors the agents read; `selection` is the part that they never do."""
    overfitting_gap: float | None = None
    """Accuracy on the diagnosis part minus that on the selection part. The parts differ by chance: read it against the first fine-tuning's."""
    n_without_answer: int = 0
    """Validation responses in which no answer was found, or that could not be scored."""
    n_cut_off: int = 0
    """Validation responses that reached the limit of tokens and are not right."""
    n_cut_in_thought: int = 0
    """Validation responses that reached it in the middle of a thought, and so answered nothing."""
    test: Metrics | None = None
    """None for models that were not measured on test."""
    adapter: str | None = None
    """Folder, relative to the run's."""
    measured: Ref | None = None
    """Every validation row with answer and verdict, in the store."""
    synthetic: tuple[Ref, ...] = ()
    """Synthetic rows it was trained on, in the store; the last object is what its iteration added."""
    tested: Ref | None = None
    """Every test row with answer and verdict, in the store; None for models that were not measured on test."""


class Comparison(Record):
    """A paired test of two models on the same rows."""

    before: str
    after: str
    split: Literal["validation", "selection", "test"]
    n: int
    n_fixed: int
    """Rows that only `after` got right."""
    n_broken: int
    """Rows that only `before` got right."""
    difference: float
    """Accuracy of `after` minus that of `before`."""
    low: float
    high: float
    p_value: float
    verdict: Literal["gained", "lost", "not shown"]


class PatternStrategy(Record):
    """A pattern and what was done about it."""

    pattern: ErrorPattern
    strategy: Strategy | None = None
    """None when no strategy was drafted, or a person dropped it."""


class IterationPatterns(Record):
    """What pattern analysis found in one iteration."""

    iteration: int
    patterns: tuple[PatternStrategy, ...]
    added: tuple[Strategy, ...] = ()
    """Strategies that a person added in review, beside the first one of each pattern."""
    n_clusters: int = 0
    silhouette: float | None = None
    """Of the grouping, in [-1, 1]."""
    stability: float | None = None
    """Mean adjusted Rand index under resampling, at most 1; about 0: another sample would give other patterns."""
    sensitivity: Sensitivity | None = None
    """How the grouping moves with the number of clusters and with the embedder; None in runs of versions that did not ask."""
    outcomes: tuple[PatternOutcome, ...] = ()
    """What became of each pattern; empty where the iteration left no model."""

    @property
    def strategies(self) -> tuple[Strategy, ...]:
        """Of the patterns, then those that a person added."""
        return (*(pair.strategy for pair in self.patterns if pair.strategy), *self.added)


class RowCost(Record):
    """What the generator and the judge took for each row that joined the training data, whoever of several runs has paid."""

    n_calls: float
    n_tokens: float
    """Input and output together."""
    cost_usd: float


class RowCounts(Record):
    """Synthetic rows over all iterations."""

    requested: int = 0
    """Rows that were to join the training data."""
    asked: int = 0
    """Rows that the generator was asked for, over all attempts and top-up rounds; 0 in runs that did not count them."""
    written: int = 0
    accepted: int = 0
    """Rows that joined the training data."""
    fill_rate: float | None = None
    """Of the rows that were to join; None in runs that did not note it."""
    each: RowCost | None = None
    """Cost of a row; None where none joined, or the run did not note it."""
    rejected: dict[str, int] = Field(default_factory=dict)
    """Count by rejection stage; `person` for what a review dropped. `verification`: answered otherwise by the judge."""
    solved: int = 0
    """Rows that the judge answered by itself."""


class Sample(Record):
    """A synthetic row to show to a reader."""

    text: str
    reason: str
    strategy: str | None = None
    """Strategy name; None in the training-error branch."""


class RunSummary(Record):
    """A finished run."""

    name: str
    task: str
    student: str
    config_hash: str
    seed: int
    models: tuple[ModelResult, ...] = Field(validation_alias=AliasChoices("models", "arms"))
    """In the order they were measured."""
    best_model: str = Field(validation_alias=AliasChoices("best_model", "best_arm"))
    comparisons: tuple[Comparison, ...] = ()
    patterns: tuple[IterationPatterns, ...] = ()
    analyses: dict[str, Ref] = Field(default_factory=dict)
    """Error analyses by iteration, in the store."""
    batches: tuple[BatchReport, ...] = ()
    rows: RowCounts = RowCounts()
    accepted_samples: tuple[Sample, ...] = ()
    rejected_samples: tuple[Sample, ...] = ()
    redactions: tuple[str, ...] = ()
    """What the leak guard cut out of patterns and strategies."""
    near: tuple[NearText, ...] = ()
    """Those of them that the embedder found, with the held-out row."""
    judge: JudgeCalibration = JudgeCalibration()
    """The judge on rows of known quality."""
    ratings: RatingSpread = RatingSpread()
    """Of all rows that the judge rated."""
    chance: float | None = None
    """Accuracy of guessing on validation; None for open answers."""
    usage: dict[str, Usage] = Field(default_factory=dict)
    """By LLM role."""
    seconds_by_stage: dict[str, float] = Field(default_factory=dict)
    peak_memory_mb: float | None = None
    reviews: tuple[Review, ...] = ()
    """What people decided."""
    warnings: tuple[str, ...] = ()
    """What a reader should know, ready to print."""
    alarms: tuple[str, ...] = ()
    """What should make a reader stop."""
    verdict: str
    """One sentence: whether it helped."""
    adapter: str | None = None
    """Folder of the best adapter, relative to the run's; None when the untouched model is best."""
    stop_reason: str

    @model_validator(mode="before")
    @classmethod
    def _lift_alarms(cls, values: Any) -> Any:
        """Summaries written before alarms had a field of their own hold them among the warnings."""
        if not isinstance(values, dict) or "alarms" in values:
            return values
        told = [str(text) for text in values.get("warnings", ())]
        alarms = tuple(text.removeprefix("alarm: ") for text in told if text.startswith("alarm: "))
        return {**values, "warnings": tuple(t for t in told if not t.startswith("alarm: ")), "alarms": alarms}

    @model_validator(mode="after")
    def _name_only_what_is_there(self) -> Self:
        if self.best_model not in {model.name for model in self.models}:
            raise ValueError(f"best_model: {self.best_model!r} is none of its models")
        for found in self.patterns:
            known = {pair.pattern.id for pair in found.patterns}
            if other := next((o.pattern_id for o in found.outcomes if o.pattern_id not in known), None):
                raise ValueError(f"patterns: an outcome of {other!r}, which is none of iteration {found.iteration}'s")
        return self
