"""The end of a run in words and figures, for a terminal."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from textwrap import indent, wrap

from pada_agent.agents.pattern_analysis.pattern_tracking import PatternOutcome
from pada_agent.agents.quality_control.judge_calibration import JudgeCalibration
from pada_agent.core.records import ErrorPattern, Metrics, Sensitivity, Usage
from pada_agent.graph.summary import Comparison, IterationPatterns, ModelResult, PatternStrategy, RunSummary

WIDTH = 110
MAX_WARNINGS = 10


def render_summary(summary: RunSummary, folder: Path) -> str:
    """All of it, ready to print; sections without content are left out."""
    sections = [
        f"{summary.name}: {summary.task}, {summary.student}, seed {summary.seed}\n{summary.verdict}",
        align_columns(arm_rows(summary)),
        "\n".join(describe_comparison(c) for c in summary.comparisons),
        align_columns(overfitting_rows(summary)),
        "\n\n".join(_describe_iteration(p) for p in summary.patterns),
        describe_rows(summary),
        describe_judge(summary.judge),
        _bullets("Warnings", _shorten(summary.warnings)),
        describe_cost(summary),
        describe_time(summary),
        describe_places(summary, folder),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def arm_rows(summary: RunSummary) -> list[list[str]]:
    """A header, then one row per arm; columns for steps and test only where something is known of them."""
    with_test = any(arm.test for arm in summary.models)
    with_steps = any(arm.n_steps for arm in summary.models)
    header = ["model", "rows", "synthetic", *["steps"] * with_steps, "validation n", "accuracy", "95 % interval"]
    rows = [
        _arm_row(arm, is_best=arm.name == summary.best_model, with_test=with_test, with_steps=with_steps)
        for arm in summary.models
    ]
    return [header + ["selection"] + ["test", "95 % interval"] * with_test, *rows]


def align_columns(rows: Sequence[Sequence[str]]) -> str:
    """Text columns: the first to the left, figures to the right. Nothing for no rows."""
    if not rows:
        return ""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [[row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))] for row in rows]
    lines.insert(1, ["-" * w for w in widths])
    return "\n".join("  ".join(line).rstrip() for line in lines)


def describe_comparison(comparison: Comparison) -> str:
    """A paired test in one sentence."""
    c = comparison
    words = {"gained": "a gain", "lost": "a loss", "not shown": "no difference shown"}
    return (
        f"{c.split}, {c.before} → {c.after}: {points(c.difference)} points"
        f" (95 % interval {points(c.low)} to {points(c.high)}; {c.n_fixed} rows fixed, {c.n_broken} broken of {c.n};"
        f" paired test p = {c.p_value:.3g}): {words[c.verdict]}."
    )


def overfitting_rows(summary: RunSummary) -> list[list[str]]:
    """A header, then diagnosis against selection accuracy by iteration; nothing where no iteration was diagnosed."""
    arms = [
        arm for arm in summary.models if arm.iteration is not None and arm.diagnosis and arm.overfitting_gap is not None
    ]
    if len(arms) < 2:
        return []
    rows = [
        [arm.name, percent(arm.diagnosis.accuracy), percent(arm.selection.accuracy), points(arm.overfitting_gap)]
        for arm in arms
        if arm.diagnosis and arm.overfitting_gap is not None
    ]
    return [["adaptive overfitting", "diagnosed part", "selecting part", "gap"], *rows]


def outcome_rows(found: IterationPatterns) -> list[list[str]]:
    """A header, then one row per pattern: what became of its validation rows, and what that took."""
    names = {pair.pattern.id: pair.pattern.category_name for pair in found.patterns}
    header = ["pattern", "status", "errors", "repaired", "broken", "rows", "rows/repaired", "tokens/repaired"]
    return [header, *(_outcome_row(names[o.pattern_id], o) for o in found.outcomes)]


def describe_sensitivity(found: Sensitivity) -> str:
    """How far other numbers of clusters and other embedders give the groups that were used, in two sentences."""
    groups = f"{found.n_clusters} group{'s' * (found.n_clusters != 1)}"
    text = f"{found.n_errors} error{'s' * (found.n_errors != 1)} in {groups}."
    if not found.by_number:
        return f"{text} Too few different ones to group otherwise."
    others = [row for row in found.by_number if row.n_clusters != found.n_clusters]
    compared = [f"{row.agreement:.2f} with the groups of '{row.embedder}'" for row in found.by_embedder]
    if others:
        low, high = (f"{pick(row.agreement for row in others):.2f}" for pick in (min, max))
        told = low if low == high else f"{low} to {high}"
        numbers = " to ".join(dict.fromkeys(str(others[i].n_clusters) for i in (0, -1)))
        compared.insert(0, f"{told} with {numbers} groups instead")
    return f"{text} Agreement: {', '.join(compared)}." if compared else text


def number_rows(found: Sensitivity) -> list[list[str]]:
    """A header, then one row for each number of clusters; a star at the one that was used."""
    rows = [
        [
            f"{r.n_clusters}{' *' * (r.n_clusters == found.n_clusters)}",
            figure(r.agreement),
            figure(r.stability),
            figure(r.silhouette),
            figure(r.inertia),
        ]
        for r in found.by_number
    ]
    return [["groups", "agreement", "stability", "silhouette", "inertia"], *rows]


def embedder_rows(found: Sensitivity) -> list[list[str]]:
    """A header, then the embedder that was used, with a star, then the others."""
    header = ["embedder", "groups", "agreement", f"at {found.n_clusters} groups", "stability", "silhouette"]
    used = [f"{found.embedder or 'its own'} *", str(found.n_clusters), figure(1.0), figure(1.0)]
    rows = [
        [r.embedder, str(r.n_clusters), *map(figure, (r.agreement, r.agreement_at_number, r.stability, r.silhouette))]
        for r in found.by_embedder
    ]
    return [header, [*used, figure(found.stability), figure(found.silhouette)], *rows]


def figure(value: float | None) -> str:
    """Two digits; a dash for what is not defined."""
    return "–" if value is None else f"{value:.2f}"


def describe_judge(judge: JudgeCalibration) -> str:
    """Catch rate and false alarms on rows of known quality; nothing without such rows."""
    if not judge.n_bad + judge.n_good + judge.n_unrated:
        return ""
    missed = ", ".join(f"{kind} {n}" for kind, n in judge.missed.items())
    return (
        f"Judge on known rows: {judge.n_caught} of {judge.n_bad} bad ones caught"
        + (f" (missed: {missed})" if missed else "")
        + f", {judge.n_false_alarms} of {judge.n_good} good ones refused."
    )


def describe_rows(summary: RunSummary) -> str:
    """Synthetic rows requested, written, accepted, rejected and why."""
    rows = summary.rows
    if not rows.requested:
        return "Synthetic rows: none."
    reasons = ", ".join(f"{stage} {n}" for stage, n in sorted(rows.rejected.items()) if n) or "none"
    return (
        f"Synthetic rows: {rows.requested} requested, {rows.written} written, {rows.accepted} accepted."
        f" Rejected: {reasons}." + describe_solving(summary)
    )


def describe_solving(summary: RunSummary) -> str:
    """What independent solving made of rows that the rating had passed."""
    if not summary.rows.solved:
        return ""
    refused = summary.rows.rejected.get("verification", 0)
    return f" Of {summary.rows.solved} rows that the rating passed and the judge then solved, {refused} were refused."


def describe_cost(summary: RunSummary) -> str:
    """LLM calls, tokens and money by role."""
    if not summary.usage:
        return "LLM: not used."
    lines = [_describe_usage(role, usage) for role, usage in summary.usage.items()]
    if len(summary.usage) > 1:
        lines.append(_describe_usage("all", sum(summary.usage.values(), Usage())))
    return "LLM use\n" + "\n".join(f"  {line}" for line in lines)


def describe_time(summary: RunSummary) -> str:
    """Wall time by stage, longest first, and peak memory."""
    if not summary.seconds_by_stage:
        return ""
    stages = sorted(summary.seconds_by_stage.items(), key=lambda item: -item[1])
    text = "Time: " + ", ".join(f"{stage} {duration(seconds)}" for stage, seconds in stages)
    return text + (f". Peak memory {summary.peak_memory_mb:,.0f} MB." if summary.peak_memory_mb else ".")


def describe_places(summary: RunSummary, folder: Path) -> str:
    """Why the run ended, and where its fruits lie."""
    adapter = folder / summary.adapter if summary.adapter else "none: the untouched model is the best"
    return f"Stopped: {summary.stop_reason}\nBest:    {summary.best_model}\nAdapter: {adapter}\nReport:  {folder / 'report.html'}"


def count_errors(pattern: ErrorPattern) -> str:
    n = len(pattern.example_ids)
    return f"{n} error" + "s" * (n != 1)


def percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def points(value: float) -> str:
    """Percentage points with their sign."""
    return f"{100 * value:+.1f}"


def interval(metrics: Metrics) -> str:
    return f"{100 * metrics.low:.1f} – {100 * metrics.high:.1f}"


def duration(seconds: float) -> str:
    """Such as `48 s`, `12 min 5 s`, `3 h 20 min`."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 1:
        return f"{seconds:.1f} s" if seconds < 10 else f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _arm_row(arm: ModelResult, *, is_best: bool, with_test: bool, with_steps: bool) -> list[str]:
    v = arm.validation
    row = [arm.name + " *" * is_best, str(arm.n_train_rows), str(arm.n_synthetic)]
    row += [str(arm.n_steps or 0)] * with_steps + [str(v.n)]
    row += [percent(v.accuracy), interval(v), percent(arm.selection.accuracy)]
    return row + ([percent(arm.test.accuracy), interval(arm.test)] if arm.test else ["", ""]) * with_test


def _describe_iteration(found: IterationPatterns) -> str:
    lines = [f"Patterns, iteration {found.iteration}{describe_grouping(found)}"]
    lines += [_describe_pattern(pair) for pair in found.patterns]
    return "\n".join([*lines, *([indent(align_columns(outcome_rows(found)), "  ")] if found.outcomes else [])])


def describe_grouping(found: IterationPatterns) -> str:
    """Silhouette and stability of the clusters, in brackets; nothing where they are not known."""
    figures = [
        f"{name} {value:.2f}"
        for name, value in (("silhouette", found.silhouette), ("stability", found.stability))
        if value is not None
    ]
    return f" ({', '.join(figures)})" if figures else ""


def _outcome_row(name: str, outcome: PatternOutcome) -> list[str]:
    o = outcome
    rates = [
        "" if o.accepted_per_repaired is None else f"{o.accepted_per_repaired:.1f}",
        "" if o.tokens_per_repaired is None else f"{o.tokens_per_repaired:,.0f}",
    ]
    return [name, o.status, str(o.n_rows), str(o.n_repaired), str(len(o.broken_ids)), str(o.n_accepted), *rates]


def _describe_pattern(pair: PatternStrategy) -> str:
    pattern, strategy = pair.pattern, pair.strategy
    text = indent("\n".join(wrap(pattern.error_pattern, WIDTH - 4)), "    ")
    name = strategy.strategy_name if strategy else "none"
    return f"  {pattern.category_name} ({count_errors(pattern)})\n{text}\n    Strategy: {name}"


def _describe_usage(role: str, usage: Usage) -> str:
    cached = f" (and {usage.n_cached} cached)" if usage.n_cached else ""
    cost = f", ${usage.cost_usd:.2f}" if usage.cost_usd else ""
    return f"{role}: {usage.n_calls} calls{cached}, {usage.input_tokens:,} tokens in, {usage.output_tokens:,} out{cost}"


def _shorten(warnings: Sequence[str]) -> list[str]:
    """A teacher that fails says the same for every batch; alarms come last and must be seen."""
    if len(warnings) <= MAX_WARNINGS:
        return list(warnings)
    left_out = f"… {len(warnings) - MAX_WARNINGS} more: see summary.json"
    return [*warnings[: MAX_WARNINGS // 2], left_out, *warnings[-MAX_WARNINGS // 2 :]]


def _bullets(title: str, texts: Iterable[str]) -> str:
    lines = [f"  - {text}" for text in texts]
    return "\n".join([title, *lines]) if lines else ""
