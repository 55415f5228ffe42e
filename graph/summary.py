"""The machine-readable result of a run: what `summary.json` holds, and what reports and other programs read."""

from collections.abc import Sequence
from typing import Literal, Self

from pydantic import Field, model_validator

from pada_agent.agents.pattern_analysis.pattern_tracking import PatternOutcome
from pada_agent.agents.quality_control.judge_calibration import JudgeCalibration
from pada_agent.agents.quality_control.rating_spread import RatingSpread
from pada_agent.core.groupings import Sensitivity
from pada_agent.core.records import ErrorPattern, Metrics, NearText, Record, Ref, Strategy, Usage
from pada_agent.graph.batch_rounds import BatchRound
from pada_agent.graph.models import FINE_TUNED
from pada_agent.graph.reviewing import Review


class ModelResult(Record):
    """The results of one model."""

    name: str
    """`untouched`, `fine-tuned`, `iteration 1` and so on."""
    iteration: int | None
    """None for the untouched model, 0 for the first fine-tuning."""
    n_train_rows: int
    """Number of rows it was trained on, including synthetic ones. 0 for the untouched model."""
    n_synthetic: int
    n_steps: int | None = None
    """Number of optimizer steps, including those of the adapters that it continues (`loop.start_from: best`). None for the untouched model, and if
    the compute backend did not report it."""
    validation: Metrics
    """Results on all of validation: the diagnosis part and the selection part together."""
    selection: Metrics
    diagnosis: Metrics | None = None
    """Results on the part whose errors the agents read. They never see the part measured by `selection`."""
    overfitting_gap: float | None = None
    """Accuracy on the diagnosis part minus accuracy on the selection part. The two parts also differ by chance, so compare it with the first
    fine-tuning's."""
    n_without_answer: int = 0
    """Number of validation responses that contained no answer or could not be scored."""
    n_cut_off: int = 0
    """Number of validation responses that reached the token limit and are not right."""
    n_cut_in_thought: int = 0
    """Number of validation responses that reached the token limit in the middle of a thought, and therefore have no answer."""
    test: Metrics | None = None
    """Results on test. None for models that were not measured on test."""
    adapter: str | None = None
    """Adapter folder, relative to the run's folder."""
    measured: Ref | None = None
    """All validation rows with answer and verdict, in the store."""
    synthetic: tuple[Ref, ...] = ()
    """Synthetic rows it was trained on, in the store. The last object holds the rows that its iteration added."""
    tested: Ref | None = None
    """All test rows with answer and verdict, in the store. None for models that were not measured on test."""


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
    """A pattern and the strategy used against it."""

    pattern: ErrorPattern
    strategy: Strategy | None = None
    """None if no strategy was drafted, or if a person dropped it."""


class IterationPatterns(Record):
    """What pattern analysis found in one iteration."""

    iteration: int
    patterns: tuple[PatternStrategy, ...]
    added: tuple[Strategy, ...] = ()
    """Strategies that a person added in review, on top of the first one of each pattern."""
    n_clusters: int = 0
    silhouette: float | None = None
    """Silhouette score of the grouping, from -1 to 1."""
    stability: float | None = None
    """Mean adjusted Rand index under resampling, at most 1. Near 0, another sample would give different patterns."""
    sensitivity: Sensitivity | None = None
    """How the grouping changes with the number of clusters and with the embedder."""
    outcomes: tuple[PatternOutcome, ...] = ()
    """What became of each pattern. Empty if the iteration produced no model."""

    @property
    def strategies(self) -> tuple[Strategy, ...]:
        """The strategies of the patterns, followed by those that a person added."""
        return (*(pair.strategy for pair in self.patterns if pair.strategy), *self.added)


class RowCost(Record):
    """Calls, tokens and cost of the generator and the judge per row that joined the training data. Replies shared between runs count in each of
    them."""

    n_calls: float
    n_tokens: float
    """Input and output tokens together."""
    cost_usd: float


class RowCounts(Record):
    """Numbers of synthetic rows over all iterations."""

    requested: int = 0
    """Rows that should have joined the training data."""
    asked: int = 0
    """Rows requested from the generator, without spare ones, over all attempts and top-up rounds."""
    written: int = 0
    accepted: int = 0
    """Rows that joined the training data."""
    fill_rate: float | None = None
    """Fraction of the requested rows that joined the training data. None if no rows were requested."""
    each: RowCost | None = None
    """Cost per row. None if no row joined."""
    rejected: dict[str, int] = Field(default_factory=dict)
    """Number of rejected rows by stage. `person`: dropped in a review. `verification`: the judge gave a different answer. `not needed`: passed the
    checks, but was spare."""
    solved: int = 0
    """Rows that the judge answered itself."""


class Sample(Record):
    """A synthetic row to show to readers."""

    text: str
    reason: str
    strategy: str | None = None
    """Strategy name. None in the training-error branch."""


class RunSummary(Record):
    """The results of a finished run."""

    name: str
    task: str
    student: str
    config_hash: str
    identity: str = ""
    """Hash of settings and real rows. The results of one run are not replaced by those of another. Empty in runs of earlier versions."""
    seed: int
    models: tuple[ModelResult, ...]
    """In the order in which they were measured."""
    best_model: str
    comparisons: tuple[Comparison, ...] = ()
    patterns: tuple[IterationPatterns, ...] = ()
    analyses: dict[str, Ref] = Field(default_factory=dict)
    """Error analyses by iteration, in the store."""
    left_out: dict[str, Ref] = Field(default_factory=dict)
    """Accepted rows that did not join the training data, by iteration, in the store."""
    batches: tuple[BatchRound, ...] = ()
    """What the batches of each round came to. The reports are in the file that each names."""
    rows: RowCounts = RowCounts()
    accepted_samples: tuple[Sample, ...] = ()
    rejected_samples: tuple[Sample, ...] = ()
    redactions: tuple[str, ...] = ()
    """What the leak guard removed from patterns and strategies."""
    near: tuple[NearText, ...] = ()
    """The redactions found by the embedder, each with its held-out row."""
    judge: JudgeCalibration = JudgeCalibration()
    """How the judge did on rows of known quality."""
    ratings: RatingSpread = RatingSpread()
    """Spread of the ratings of all rows that the judge rated."""
    chance: float | None = None
    """Accuracy of random guessing on validation. None for open answers."""
    usage: dict[str, Usage] = Field(default_factory=dict)
    """LLM usage by role."""
    seconds_by_stage: dict[str, float] = Field(default_factory=dict)
    peak_memory_mb: float | None = None
    reviews: tuple[Review, ...] = ()
    """What people decided in reviews."""
    warnings: tuple[str, ...] = ()
    """What readers should know, ready to print."""
    alarms: tuple[str, ...] = ()
    """Problems serious enough that readers should stop and look."""
    verdict: str
    """Whether the run helped, in one sentence."""
    adapter: str | None = None
    """Folder of the best adapter, relative to the run's folder. None if the untouched model is best."""
    stop_reason: str

    @property
    def best(self) -> ModelResult:
        """The model that `best_model` names."""
        return next(model for model in self.models if model.name == self.best_model)

    @model_validator(mode="after")
    def _name_only_what_is_there(self) -> Self:
        if self.best_model not in {model.name for model in self.models}:
            raise ValueError(f"best_model: {self.best_model!r} is not one of its models")
        for found in self.patterns:
            known = {pair.pattern.id for pair in found.patterns}
            if other := next((o.pattern_id for o in found.outcomes if o.pattern_id not in known), None):
                raise ValueError(
                    f"patterns: an outcome of {other!r}, which is not one of iteration {found.iteration}'s patterns"
                )
        return self


def find_main(comparisons: Sequence[Comparison], models: Sequence[ModelResult]) -> Comparison | None:
    """The comparison that the verdict is about: the last one of an augmented model with plain fine-tuning."""
    augmented = [model.name for model in models if model.iteration]
    return next((c for c in reversed(comparisons) if c.before == FINE_TUNED and c.after in augmented), None)


def is_flattered(comparison: Comparison, models: Sequence[ModelResult]) -> bool:
    """Whether the comparison's rows also chose its model from several iterations, so that its gain is probably too high."""
    return comparison.split == "selection" and sum(bool(model.iteration) for model in models) > 1
