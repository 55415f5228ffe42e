"""Turns the final state into the summary of the run. Pure functions."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from pydantic import Field

from pada_agent.agents.pattern_analysis.clustering import Clustering
from pada_agent.agents.pattern_analysis.pattern_tracking import PatternOutcome
from pada_agent.agents.quality_control.judge_calibration import JudgeCalibration
from pada_agent.agents.quality_control.rating_spread import RatingSpread
from pada_agent.core.config import hash_config
from pada_agent.core.records import ErrorPattern, GuardedStrategy, Metrics, Record, Ref, Usage
from pada_agent.core.wording import agree, count
from pada_agent.graph.batch_rounds import judge_in
from pada_agent.graph.identity import identify
from pada_agent.graph.models import UNTOUCHED, TrainedModel
from pada_agent.graph.spans import seconds_by_stage
from pada_agent.graph.state import RunState
from pada_agent.graph.summary import (
    Comparison,
    IterationPatterns,
    ModelResult,
    PatternStrategy,
    RowCost,
    RowCounts,
    RunSummary,
    Sample,
    find_main,
    is_flattered,
)

MAX_WITHOUT_ANSWER = 0.05
"""Fraction of a fine-tuned model's responses that may lack an answer, or may be cut off and not right, before there is an alarm."""


class Majority(Record):
    """The label that most validation rows have, and their share: the accuracy of always giving it."""

    label: str
    share: float


class SummaryInputs(Record):
    """What the summary needs in addition to the state."""

    test: dict[str, Metrics]
    """Results on test, by model."""
    tested: dict[str, Ref] = Field(default_factory=dict)
    """All test rows with answer and verdict, in the store, by model."""
    comparisons: tuple[Comparison, ...]
    accepted_samples: tuple[Sample, ...]
    rejected_samples: tuple[Sample, ...]
    usage: dict[str, Usage]
    """LLM usage, by role."""
    peak_memory_mb: float | None
    """Peak resident memory, in MiB."""
    stop_reason: str
    chance: float | None = None
    """Accuracy of random guessing on validation. None for open answers."""
    majority: Majority | None = None
    """None if labels are not a closed set."""
    n_without_answer: dict[str, int] = Field(default_factory=dict)
    """Number of validation responses without an answer, by model."""
    n_cut_off: dict[str, int] = Field(default_factory=dict)
    """Number of validation responses that reached the token limit and are not right, by model."""
    n_cut_in_thought: dict[str, int] = Field(default_factory=dict)
    """Number of validation responses that reached the token limit in the middle of a thought, by model."""
    why_unscored: dict[str, str] = Field(default_factory=dict)
    """Why the first validation response that could not be scored was not, by model."""
    ratings: RatingSpread = RatingSpread()
    usage_of_rows: Usage = Usage()
    """LLM usage of the generator and the judge for synthetic rows."""
    clusterings: dict[str, Clustering] = Field(default_factory=dict)
    """How the analyses were grouped, by iteration."""
    outcomes: dict[str, tuple[PatternOutcome, ...]] = Field(default_factory=dict)
    """What became of each pattern, by iteration."""


def summarize_run(state: RunState, inputs: SummaryInputs) -> RunSummary:
    """The machine-readable result of the run."""
    settings = state["settings"]
    models = tuple(_to_result(model, inputs) for model in state["models"].values())
    judge = judge_in(state.get("batches", {}).values())
    best = state["models"][state["best_model"]]
    return RunSummary(
        name=settings.name,
        task=settings.task.name,
        student=settings.student.model,
        config_hash=hash_config(settings),
        identity=identify(settings, state["data"]),
        seed=settings.seed,
        models=models,
        best_model=best.name,
        comparisons=inputs.comparisons,
        patterns=tuple(pair_patterns(state, inputs)),
        analyses=state.get("analyses", {}),
        left_out=state.get("left_out", {}),
        batches=tuple(state.get("batches", {}).values()),
        rows=count_rows(state, inputs.usage_of_rows),
        accepted_samples=inputs.accepted_samples,
        rejected_samples=inputs.rejected_samples,
        redactions=tuple(r for gs in state.get("strategies", {}).values() for g in gs for r in g.redactions),
        near=tuple(n for gs in state.get("strategies", {}).values() for g in gs for n in g.near),
        judge=judge,
        ratings=inputs.ratings,
        chance=inputs.chance,
        usage=inputs.usage,
        seconds_by_stage=seconds_by_stage(state["spans"]),
        peak_memory_mb=inputs.peak_memory_mb,
        reviews=tuple(state.get("reviews", {}).values()),
        warnings=tuple(state.get("warnings", [])),
        alarms=tuple(
            find_alarms(
                models,
                state,
                judge=judge,
                ratings=inputs.ratings,
                chance=inputs.chance,
                majority=inputs.majority,
                why_unscored=inputs.why_unscored,
            )
        ),
        verdict=word_verdict(
            inputs.comparisons,
            models,
            cause="augmentation" if settings.generation.written_share else "more real data",
            best=best.name,
        ),
        adapter=best.adapter and f"objects/{best.adapter.key}",
        stop_reason=inputs.stop_reason,
    )


def pair_patterns(state: RunState, inputs: SummaryInputs) -> list[IterationPatterns]:
    """Each iteration's patterns, each with the strategy drafted for it, how good their grouping is, and what became of them."""
    found = []
    for i, patterns in sorted(state.get("patterns", {}).items(), key=lambda kv: int(kv[0])):
        grouped = inputs.clusterings.get(i)
        pairs = _pair(patterns, strategies := state.get("strategies", {}).get(i, []))
        paired = {pair.strategy.id for pair in pairs if pair.strategy}
        found.append(
            IterationPatterns(
                iteration=int(i),
                patterns=tuple(pairs),
                added=tuple(g.strategy for g in strategies if g.strategy.id not in paired),
                n_clusters=grouped.n_clusters if grouped else 0,
                silhouette=grouped.silhouette if grouped else None,
                stability=grouped.stability if grouped else None,
                sensitivity=grouped.sensitivity if grouped else None,
                outcomes=inputs.outcomes.get(i, ()),
            )
        )
    return found


def count_rows(state: RunState, usage: Usage = Usage()) -> RowCounts:  # noqa: B008  (frozen)
    """Numbers of synthetic rows over all batches, and what each row cost."""
    batches = state.get("batches", {}).values()
    rejected = Counter[str]()
    for batch in batches:
        rejected.update(batch.n_rejected)
    accepted = sum(b.n_accepted for b in batches)
    left_out = sum((Counter(n) for n in state.get("n_left_out", {}).values()), Counter[str]())
    rejected.update(left_out)
    overruled = sum((Counter(n) for n in state.get("overruled", {}).values()), Counter[str]())
    rejected.subtract(overruled)
    joined = accepted - left_out.total() + overruled.total()
    requested = sum(state.get("n_wanted", {}).values())
    return RowCounts(
        requested=requested,
        asked=sum(b.n_asked for b in batches),
        written=sum(b.n_written for b in batches),
        accepted=joined,
        fill_rate=joined / requested if requested else None,
        each=share_cost(usage, joined),
        rejected={stage: n for stage, n in rejected.items() if n},
        solved=sum(b.n_solved for b in batches),
    )


def share_cost(usage: Usage, n_rows: int) -> RowCost | None:
    """The usage per row. None if there are no rows."""
    if not n_rows:
        return None
    n_tokens = usage.input_tokens + usage.output_tokens
    return RowCost(n_calls=usage.n_calls / n_rows, n_tokens=n_tokens / n_rows, cost_usd=usage.cost_usd / n_rows)


def find_alarms(
    models: Iterable[ModelResult],
    state: RunState,
    *,
    judge: JudgeCalibration,
    ratings: RatingSpread,
    chance: float | None,
    majority: Majority | None = None,
    why_unscored: Mapping[str, str] = MappingProxyType({}),
) -> list[str]:
    """Problems serious enough that readers should stop and look: in models, answers, data, patterns or the judge."""
    models = list(models)
    return [
        *_find_weak_models(models, chance, majority),
        *_find_lost_answers(models, why_unscored),
        *_find_empty_iterations(state),
        *_find_few_errors(state),
        *_find_blind_judge(judge),
        *_find_empty_ratings(ratings),
    ]


def _find_weak_models(models: Iterable[ModelResult], chance: float | None, majority: Majority | None) -> list[str]:
    """Models below the untouched one, and fine-tuned models at chance or no better than one label for all rows. The untouched
    model may well guess; that is why it is tuned.
    """
    by_name = {model.name: model for model in models}
    floor = by_name[UNTOUCHED].validation.accuracy
    alarms = [
        f"'{model.name}' is below the untouched model on validation ({model.validation.accuracy:.1%} against {floor:.1%})"
        for model in by_name.values()
        if model.validation.accuracy < floor
    ]
    tuned = [model for model in by_name.values() if model.iteration is not None]
    return alarms + [alarm for model in tuned if (alarm := _find_guessing(model, chance, majority))]


def _find_guessing(model: ModelResult, chance: float | None, majority: Majority | None) -> str:
    """That the model is not shown to do better than guessing, in words. Empty if it is."""
    accuracy, low = model.validation.accuracy, model.validation.low
    if chance is not None and low <= chance:
        return f"'{model.name}' does no better than chance on validation ({accuracy:.1%}, interval from {low:.1%}; chance is {chance:.1%})"
    if majority is not None and low <= majority.share:
        return (
            f"'{model.name}' is not shown to do better on validation than giving {majority.label!r} to every row"
            f" ({accuracy:.1%}, interval from {low:.1%}; {majority.share:.1%} of the rows have this label)"
        )
    return ""


def _find_lost_answers(models: Iterable[ModelResult], why_unscored: Mapping[str, str]) -> list[str]:
    """Unscored responses, and a share of at least `MAX_WITHOUT_ANSWER` of responses without an answer or cut off."""
    alarms = []
    for model in models:
        n, n_unscored, n_lost = model.validation.n, model.validation.n_unscored, model.n_without_answer
        if n_unscored:
            why = f", the first: {reason}" if (reason := why_unscored.get(model.name)) else ""
            alarms.append(f"{n_unscored} of {n} answers of '{model.name}' could not be scored{why}")
        if model.test and (n_lost_on_test := model.test.n_unscored):
            alarms.append(
                f"{n_lost_on_test} of {model.test.n} test answers of '{model.name}' could not be scored, and"
                f" {agree(n_lost_on_test, 'counts', 'count')} as not correct"
            )
        if model.iteration is not None and n_lost > n_unscored and n_lost >= MAX_WITHOUT_ANSWER * n:
            alarms.append(f"{n_lost} of {n} answers of '{model.name}' are out of format ({n_lost / n:.0%})")
        if model.n_cut_in_thought >= max(1, MAX_WITHOUT_ANSWER * n):
            alarms.append(
                f"'{model.name}' was still thinking on {model.n_cut_in_thought} of {n} rows ({model.n_cut_in_thought / n:.0%}) when its"
                " tokens were used up, and answered nothing: raise student.max_new_tokens, or keep it from thinking, as"
                " student.template_arguments {enable_thinking: false} does for Qwen3"
            )
        elif model.iteration is not None and model.n_cut_off >= max(1, MAX_WITHOUT_ANSWER * n):
            alarms.append(
                f"{model.n_cut_off} of {n} answers of '{model.name}' were cut off and are not right"
                f" ({model.n_cut_off / n:.0%}): is student.max_new_tokens too small for them?"
            )
    return alarms


def _find_empty_iterations(state: RunState) -> list[str]:
    batches = state.get("batches", {}).values()
    if batches and not any(b.n_accepted for b in batches):
        return ["no synthetic row was accepted"]
    accepted: Counter[int] = Counter()
    for batch in batches:
        accepted[batch.iteration] += batch.n_accepted
    return [f"no synthetic row of iteration {i} was accepted" for i, n in accepted.items() if not n]


def _find_few_errors(state: RunState) -> list[str]:
    """Iterations with so few errors that they, and not the elbow rule, limited the number of clusters."""
    limit = state["settings"].analysis.max_clusters
    return [
        f"iteration {i} has {count(ref.rows, 'analyzed error')}, fewer than the {limit} clusters that the settings allow"
        for i, ref in state.get("analyses", {}).items()
        if 0 < ref.rows < limit
    ]


def _find_blind_judge(judge: JudgeCalibration) -> list[str]:
    if not judge.n_bad or judge.n_caught_by_rating:
        return []
    rows = agree(judge.n_bad, "the known-bad row", f"all {judge.n_bad} known-bad rows")
    return [f"the judge passed {rows} it was shown: its ratings cannot be trusted"]


def _find_empty_ratings(ratings: RatingSpread) -> list[str]:
    if not ratings.says_nothing:
        return []
    return [
        f"all {ratings.n_accepted} accepted rows have the rating {next(iter(ratings.accepted))}: it does not tell them apart"
    ]


def word_verdict(
    comparisons: Sequence[Comparison],
    models: Sequence[ModelResult],
    *,
    cause: str = "augmentation",
    best: str = "",
) -> str:
    """How the augmented model compares with plain fine-tuning, and what that does not prove.

    More rows for the same number of epochs mean more optimizer steps, and so does training the best adapter further. And
    one seed is one draw: another may change the sign (docs/results).

    Args:
        best: name of the published model, if known.
    """
    c = find_main(comparisons, models)
    if c is None:
        return "No augmentation round was compared with plain fine-tuning."
    figures = (
        f"'{c.after}' against '{c.before}' {100 * c.difference:+.1f} points on {c.split} "
        f"(95% interval {100 * c.low:+.1f} to {100 * c.high:+.1f}, n = {c.n}, p {_word_p(c.p_value)})"
    )
    flattery = (
        " These rows also chose the iteration, so the difference is probably too high: set data.test to other rows."
        if is_flattered(c, models)
        else ""
    )
    if c.verdict == "not shown":
        return f"No effect of {cause} is shown: {figures}.{flattery}"
    verdict = f"With {cause} the model is {'better' if c.verdict == 'gained' else 'worse'}: {figures}.{flattery}"
    if best and best != (c.after if c.verdict == "gained" else c.before):
        verdict += f" The selection part of validation nevertheless chose '{best}', so that is the model in best/."
    if c.verdict == "gained" and (caveat := _word_steps(c, models)):
        return f"{verdict} {caveat}"
    return f"{verdict} One seed says something about these two models only; judging the method takes several."


def _word_steps(comparison: Comparison, models: Sequence[ModelResult]) -> str:
    """What to know about the steps of the two models. Empty if the second took no more of them."""
    n_steps = {model.name: model.n_steps for model in models}
    before, after = n_steps[comparison.before], n_steps[comparison.after]
    if before is None or after is None:
        return "How many optimizer steps each took is not known, and more of them may be the only reason."
    if after <= before:
        return ""
    return (
        f"It also took more optimizer steps ({after} against {before}), which may be the only reason: set lora.n_steps, and"
        " loop.start_from: base, to compare the data alone."
    )


def _to_result(model: TrainedModel, inputs: SummaryInputs) -> ModelResult:
    if model.validation is None or model.selection is None:
        raise ValueError(f"model '{model.name}' was never evaluated")
    return ModelResult(
        name=model.name,
        iteration=model.iteration,
        n_train_rows=model.n_train_rows,
        n_synthetic=model.n_synthetic,
        n_steps=model.n_steps,
        validation=model.validation,
        selection=model.selection,
        diagnosis=model.diagnosis,
        overfitting_gap=model.diagnosis.accuracy - model.selection.accuracy if model.diagnosis else None,
        n_without_answer=inputs.n_without_answer.get(model.name, 0),
        n_cut_off=inputs.n_cut_off.get(model.name, 0),
        n_cut_in_thought=inputs.n_cut_in_thought.get(model.name, 0),
        test=inputs.test.get(model.name),
        adapter=model.adapter and f"objects/{model.adapter.key}",
        measured=model.measured,
        synthetic=model.synthetic,
        tested=inputs.tested.get(model.name),
    )


def _pair(patterns: list[ErrorPattern], strategies: list[GuardedStrategy]) -> list[PatternStrategy]:
    by_pattern = {g.strategy.pattern_id: g.strategy for g in reversed(strategies)}
    return [PatternStrategy(pattern=p, strategy=by_pattern.get(p.id)) for p in patterns]


def _word_p(p_value: float) -> str:
    return "< 0.001" if p_value < 0.001 else f"= {p_value:.3f}"
