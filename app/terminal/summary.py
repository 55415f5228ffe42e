"""The results at the end of a run, for a terminal."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from textwrap import indent, wrap

from pada_agent.app.prerequisites import list_unpriced
from pada_agent.app.report.tables import (
    NOT_FINISHED,
    count_errors,
    describe_comparison,
    describe_grouping,
    describe_judge,
    describe_ratings,
    describe_rows,
    model_rows,
    outcome_rows,
    overfitting_rows,
)
from pada_agent.app.run_folder import layout
from pada_agent.app.text import align_columns, duration, word_cost
from pada_agent.core.errors import PadaError
from pada_agent.core.records import Usage
from pada_agent.graph.summary import IterationPatterns, PatternStrategy, RunSummary

WIDTH = 110


MAX_WARNINGS = 10


def render_summary(summary: RunSummary, folder: Path) -> str:
    """The whole summary, ready to print. Sections without content are left out."""
    unpriced = _find_unpriced(summary, folder)
    sections = [
        f"{summary.name}: {summary.task}, {summary.student}, seed {summary.seed}\n{summary.verdict}",
        align_columns(model_rows(summary)),
        "\n".join(describe_comparison(c) for c in summary.comparisons),
        align_columns(overfitting_rows(summary)),
        "\n\n".join(_describe_iteration(p) for p in summary.patterns),
        describe_rows(summary, unpriced),
        describe_judge(summary.judge),
        describe_ratings(summary.ratings),
        _bullets("Warnings", _shorten(summary.warnings)),
        _bullets("Alarms", summary.alarms),
        describe_cost(summary, unpriced),
        describe_time(summary),
        describe_places(summary, folder),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def describe_cost(summary: RunSummary, unpriced: Sequence[str] = ()) -> str:
    """LLM calls, tokens and money by role. Empty if an unfinished run has not used any yet, or they cannot be read.

    Args:
        unpriced: roles that were asked, may cost money and have no price.
    """
    if not summary.usage:
        return "" if summary.stop_reason == NOT_FINISHED else "LLM: not used."
    lines = [_describe_usage(role, usage, [role] if role in unpriced else []) for role, usage in summary.usage.items()]
    if len(summary.usage) > 1:
        lines.append(_describe_usage("all", sum(summary.usage.values(), Usage()), unpriced))
    return "LLM use\n" + "\n".join(f"  {line}" for line in lines)


def describe_time(summary: RunSummary) -> str:
    """Wall time by stage, longest first, and peak memory."""
    if not summary.seconds_by_stage:
        return ""
    stages = sorted(summary.seconds_by_stage.items(), key=lambda item: -item[1])
    text = "Time: " + ", ".join(f"{stage} {duration(seconds)}" for stage, seconds in stages)
    return text + (f". Peak memory {summary.peak_memory_mb:,.0f} MB." if summary.peak_memory_mb else ".")


def describe_places(summary: RunSummary, folder: Path) -> str:
    """Why the run ended, and where its results are."""
    if summary.stop_reason == NOT_FINISHED:
        adapter = str(folder / summary.adapter) if summary.adapter else "none: the untouched model is the best so far"
    else:
        adapter = str(folder / "best") if summary.adapter else "none: the untouched model is the best"
    return f"Stopped: {summary.stop_reason}\nBest:    {summary.best_model}\nAdapter: {adapter}\nReport:  {folder / 'report.html'}"


def _describe_iteration(found: IterationPatterns) -> str:
    lines = [f"Patterns, iteration {found.iteration}{describe_grouping(found)}"]
    lines += [_describe_pattern(pair) for pair in found.patterns]
    return "\n".join([*lines, *([indent(align_columns(outcome_rows(found)), "  ")] if found.outcomes else [])])


def _describe_pattern(pair: PatternStrategy) -> str:
    pattern, strategy = pair.pattern, pair.strategy
    text = indent("\n".join(wrap(pattern.error_pattern, WIDTH - 4)), "    ")
    name = strategy.strategy_name if strategy else "none"
    return f"  {pattern.category_name} ({count_errors(pattern)})\n{text}\n    Strategy: {name}"


def _find_unpriced(summary: RunSummary, folder: Path) -> tuple[str, ...]:
    """Empty if the run's settings cannot be read."""
    try:
        return list_unpriced(layout.load_run_config(folder), summary.usage)
    except PadaError:
        return ()


def _describe_usage(role: str, usage: Usage, unpriced: Sequence[str]) -> str:
    cached = f" (and {usage.n_cached} cached)" if usage.n_cached else ""
    cost = f", {word_cost(usage.cost_usd, unpriced)}" if usage.cost_usd or unpriced else ""
    cost = cost.replace("not known", "cost not known")
    return f"{role}: {usage.n_calls} calls{cached}, {usage.input_tokens:,} tokens in, {usage.output_tokens:,} out{cost}"


def _shorten(warnings: Sequence[str]) -> list[str]:
    """Leave out repeated warnings: a teacher that fails says the same for every batch."""
    if len(warnings) <= MAX_WARNINGS:
        return list(warnings)
    left_out = f"… {len(warnings) - MAX_WARNINGS} more: see report.html"
    return [*warnings[: MAX_WARNINGS // 2], left_out, *warnings[-MAX_WARNINGS // 2 :]]


def _bullets(title: str, texts: Iterable[str]) -> str:
    lines = [f"  - {text}" for text in texts]
    return "\n".join([title, *lines]) if lines else ""
