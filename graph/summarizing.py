"""From the final state to the summary of the run. Pure."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from pada_agent.core.config import RunConfig
from pada_agent.core.records import ErrorPattern, GuardedStrategy, Metrics, Record, Ref, Usage
from pada_agent.graph.nodes.fine_tuning import FINE_TUNED
from pada_agent.graph.nodes.prepare import UNTOUCHED
from pada_agent.graph.state import Arm, RunState, Span
from pada_agent.graph.summary import (
    ArmResult,
    Comparison,
    IterationPatterns,
    PatternStrategy,
    RowCounts,
    RunSummary,
    Sample,
)


class SummaryInputs(Record):
    """What the summary needs beside the state."""

    student: str
    test: dict[str, Metrics]
    tested: dict[str, Ref]
    comparisons: tuple[Comparison, ...]
    accepted_samples: tuple[Sample, ...]
    rejected_samples: tuple[Sample, ...]
    usage: dict[str, Usage]
    peak_memory_mb: float | None
    stop_reason: str


def summarize_run(state: RunState, inputs: SummaryInputs) -> RunSummary:
    """The machine-readable result."""
    settings = state["settings"]
    arms = tuple(
        _to_result(arm, inputs.test.get(arm.name), inputs.tested.get(arm.name)) for arm in state["arms"].values()
    )
    best = state["arms"][state["best_arm"]]
    return RunSummary(
        name=settings.name,
        task=settings.task.name,
        student=settings.student.model,
        config_hash=hash_config(settings),
        seed=settings.seed,
        arms=arms,
        best_arm=best.name,
        comparisons=inputs.comparisons,
        patterns=tuple(pair_patterns(state)),
        analyses=state.get("analyses", {}),
        batches=tuple(state.get("batches", {}).values()),
        rows=count_rows(state),
        accepted_samples=inputs.accepted_samples,
        rejected_samples=inputs.rejected_samples,
        redactions=tuple(r for gs in state.get("strategies", {}).values() for g in gs for r in g.redactions),
        usage=inputs.usage,
        seconds_by_stage=seconds_by_stage(state["spans"]),
        peak_memory_mb=inputs.peak_memory_mb,
        reviews=tuple(state.get("reviews", {}).values()),
        warnings=(*state.get("warnings", []), *find_alarms(arms, state)),
        verdict=word_verdict(
            inputs.comparisons,
            arms,
            equal_steps=settings.lora.n_steps is not None,
            cause="more real data" if settings.generation.sources == "held_back" else "augmentation",
        ),
        adapter=best.adapter and f"objects/{best.adapter.key}",
        stop_reason=inputs.stop_reason,
    )


def hash_config(settings: RunConfig) -> str:
    """Short content hash of the settings."""
    return hashlib.sha256(settings.model_dump_json().encode()).hexdigest()[:16]


def pair_patterns(state: RunState) -> list[IterationPatterns]:
    """Each iteration's patterns with the strategy drafted for each."""
    return [
        IterationPatterns(iteration=int(i), patterns=tuple(_pair(patterns, state.get("strategies", {}).get(i, []))))
        for i, patterns in sorted(state.get("patterns", {}).items(), key=lambda kv: int(kv[0]))
    ]


def count_rows(state: RunState) -> RowCounts:
    """Synthetic rows over all batches; what fell out between batches counts as duplicate."""
    batches = state.get("batches", {}).values()
    rejected = Counter[str]()
    for batch in batches:
        rejected.update(batch.n_rejected)
    accepted = sum(b.n_accepted for b in batches)
    if repeated := accepted - sum(state.get("n_joined", {}).values()):
        rejected["duplicate"] += repeated
    answers = [r.answer for r in state.get("reviews", {}).values() if r.review == "data"]
    n_dropped = sum(len(set(a.get("drop", ()))) for a in answers)
    n_overruled = sum(len(set(a.get("accept", ()))) for a in answers)
    rejected.update(person=n_dropped, quality=-n_overruled)
    return RowCounts(
        requested=sum(b.n_requested for b in batches),
        written=sum(b.n_written for b in batches),
        accepted=accepted - repeated - n_dropped + n_overruled,
        rejected={stage: n for stage, n in rejected.items() if n},
    )


def seconds_by_stage(spans: Mapping[str, Span]) -> dict[str, float]:
    """Wall time by stage: overlapping executions of a stage count once."""
    by_stage: dict[str, list[Span]] = defaultdict(list)
    for key, span in spans.items():
        by_stage[key.partition("/")[0]].append(span)
    return {stage: round(_union_seconds(stage_spans), 1) for stage, stage_spans in by_stage.items()}


def find_alarms(arms: Iterable[ArmResult], state: RunState) -> list[str]:
    """What should make a reader stop: an arm below the untouched model, answers that could not be scored, nothing accepted."""
    by_name = {arm.name: arm for arm in arms}
    floor = by_name[UNTOUCHED].validation.accuracy
    alarms = [
        f"alarm: '{arm.name}' is below the untouched model on validation ({arm.validation.accuracy:.1%} against {floor:.1%})"
        for arm in by_name.values()
        if arm.validation.accuracy < floor
    ]
    alarms += [
        f"alarm: {arm.validation.n_unscored} of {arm.validation.n} answers of '{arm.name}' could not be scored"
        for arm in by_name.values()
        if arm.validation.n_unscored
    ]
    batches = state.get("batches", {}).values()
    if batches and not any(b.n_accepted for b in batches):
        alarms.append("alarm: no synthetic row was accepted")
    return alarms


def word_verdict(
    comparisons: Iterable[Comparison], arms: Iterable[ArmResult], *, equal_steps: bool, cause: str = "augmentation"
) -> str:
    """Whether augmentation helped over plain fine-tuning. More rows for as many epochs are more steps: not the data alone."""
    augmented = [arm.name for arm in arms if arm.iteration]
    found = [c for c in comparisons if c.before == FINE_TUNED and c.after in augmented]
    if not found:
        return "No augmentation round was compared with plain fine-tuning."
    c = found[-1]
    figures = f"{c.difference:+.1%} on {c.split} (95 % interval {c.low:+.1%} to {c.high:+.1%}, n = {c.n}, p = {c.p_value:.3f})"
    words = {
        "gained": f"{cause.capitalize()} helped",
        "lost": f"{cause.capitalize()} did harm",
        "not shown": f"No effect of {cause} is shown",
    }[c.verdict]
    told = f"{words}: '{c.after}' against '{c.before}' {figures}."
    if c.verdict != "gained" or equal_steps:
        return told
    return (
        f"The augmented model is better: '{c.after}' against '{c.before}' {figures}. It also took more optimizer steps, "
        "which may be all of it: fix lora.n_steps to compare the data alone."
    )


def _to_result(arm: Arm, test: Metrics | None, tested: Ref | None) -> ArmResult:
    if arm.validation is None or arm.selection is None:
        raise ValueError(f"arm '{arm.name}' was never evaluated")
    return ArmResult(
        name=arm.name,
        iteration=arm.iteration,
        n_train_rows=arm.n_train_rows,
        n_synthetic=arm.n_synthetic,
        n_steps=arm.n_steps,
        validation=arm.validation,
        selection=arm.selection,
        test=test,
        adapter=arm.adapter and f"objects/{arm.adapter.key}",
        measured=arm.measured,
        tested=tested,
    )


def _pair(patterns: list[ErrorPattern], strategies: list[GuardedStrategy]) -> list[PatternStrategy]:
    by_pattern = {g.strategy.pattern_id: g.strategy for g in strategies}
    return [PatternStrategy(pattern=p, strategy=by_pattern.get(p.id)) for p in patterns]


def _union_seconds(spans: list[Span]) -> float:
    total, reached = 0.0, float("-inf")
    for start, end in sorted(tuple(span) for span in spans):  # JSON checkpoints give lists back
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total
