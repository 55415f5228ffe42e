"""A run's results as tables and sentences, for a terminal and other texts."""

from collections.abc import Mapping, Sequence

from pada_agent.agents.pattern_analysis.pattern_tracking import PatternOutcome
from pada_agent.agents.quality_control.judge_calibration import JudgeCalibration
from pada_agent.agents.quality_control.rating_spread import RatingSpread
from pada_agent.app.text import duration, figure, interval, percent, points
from pada_agent.core.groupings import Sensitivity
from pada_agent.core.records import Branch, ErrorPattern
from pada_agent.core.wording import count
from pada_agent.graph.summary import Comparison, IterationPatterns, ModelResult, RowCost, RunSummary

NOT_FINISHED = "not finished"
"""The `stop_reason` of a run that is not finished."""
_REAL: Branch = "held_back"


def model_rows(summary: RunSummary) -> list[list[str]]:
    """A header, then one row per model. The columns for steps and test appear only if there is something to show."""
    with_test = any(model.test for model in summary.models)
    with_steps = any(model.n_steps for model in summary.models)
    header = ["model", "rows", "synthetic", *["steps"] * with_steps, "validation n", "accuracy", "95% interval"]
    rows = [
        _model_row(model, is_best=model.name == summary.best_model, with_test=with_test, with_steps=with_steps)
        for model in summary.models
    ]
    return [header + ["selection"] + ["test", "95% interval"] * with_test, *rows]


def describe_comparison(comparison: Comparison) -> str:
    """A paired test in one sentence."""
    c = comparison
    words = {"gained": "a gain", "lost": "a loss", "not shown": "no difference shown"}
    return (
        f"{c.split}, {c.before} → {c.after}: {points(c.difference)} points"
        f" (95% interval {points(c.low)} to {points(c.high)}; {c.n_fixed} rows fixed, {c.n_broken} broken of {c.n};"
        f" paired test p = {c.p_value:.3g}): {words[c.verdict]}."
    )


def overfitting_rows(summary: RunSummary) -> list[list[str]]:
    """A header, then diagnosis and selection accuracy by iteration. Empty if no iteration was diagnosed."""
    models = [
        model
        for model in summary.models
        if model.iteration is not None and model.diagnosis and model.overfitting_gap is not None
    ]
    if len(models) < 2:
        return []
    rows = [
        [
            model.name,
            percent(model.diagnosis.accuracy),
            percent(model.selection.accuracy),
            points(model.overfitting_gap),
        ]
        for model in models
        if model.diagnosis and model.overfitting_gap is not None
    ]
    return [["adaptive overfitting", "diagnosis part", "selection part", "gap"], *rows]


def outcome_rows(found: IterationPatterns) -> list[list[str]]:
    """A header, then one row per pattern: what became of its validation rows, and what that cost."""
    names = {pair.pattern.id: pair.pattern.category_name for pair in found.patterns}
    header = ["pattern", "status", "errors", "repaired", "broken", "rows", "rows/repaired", "tokens/repaired"]
    return [header, *(_outcome_row(names[o.pattern_id], o) for o in found.outcomes)]


def describe_sensitivity(found: Sensitivity) -> str:
    """How far other numbers of clusters and other embedders lead to the same groups, in two sentences."""
    text = f"{count(found.n_errors, 'error')} in {count(found.n_clusters, 'group')}."
    if not found.by_number:
        return f"{text} There are too few different errors to group them in other ways."
    others = [row for row in found.by_number if row.n_clusters != found.n_clusters]
    compared = [f"{row.agreement:.2f} with the groups of '{row.embedder}'" for row in found.by_embedder]
    if others:
        low, high = (f"{pick(row.agreement for row in others):.2f}" for pick in (min, max))
        agreement = low if low == high else f"{low} to {high}"
        numbers = " to ".join(dict.fromkeys(str(others[i].n_clusters) for i in (0, -1)))
        compared.insert(0, f"{agreement} with {numbers} groups instead")
    return f"{text} Agreement: {', '.join(compared)}." if compared else text


def number_rows(found: Sensitivity) -> list[list[str]]:
    """A header, then one row per number of clusters, with a star at the one in use."""
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
    """A header, then the embedder in use with a star, then the others."""
    header = ["embedder", "groups", "agreement", f"at {found.n_clusters} groups", "stability", "silhouette"]
    used = [f"{found.embedder or 'its own'} *", str(found.n_clusters), figure(1.0), figure(1.0)]
    rows = [
        [r.embedder, str(r.n_clusters), *map(figure, (r.agreement, r.agreement_at_number, r.stability, r.silhouette))]
        for r in found.by_embedder
    ]
    return [header, [*used, figure(found.stability), figure(found.silhouette)], *rows]


def describe_judge(judge: JudgeCalibration) -> str:
    """Caught bad rows and false alarms among rows of known quality. Empty if there were none."""
    if not judge.n_bad + judge.n_good + judge.n_unrated:
        return ""
    missed = ", ".join(f"{kind} {n}" for kind, n in judge.missed.items())
    return (
        f"Judge on known rows: {judge.n_caught} of {judge.n_bad} bad ones caught"
        + (f" (missed: {missed})" if missed else "")
        + f", {judge.n_false_alarms} of {judge.n_good} good ones rejected."
        + _word_gates(judge)
    )


def describe_ratings(ratings: RatingSpread) -> str:
    """How the judge's ratings are spread, and whether they mean anything. Empty if nothing was rated."""
    if not ratings.n_accepted + ratings.n_refused:
        return ""
    listed = {"accepted": ratings.accepted, "rejected": ratings.refused}
    parts = [f"{name} {_list_counts(counts)}" for name, counts in listed.items() if counts]
    silent = " All accepted rows have the same rating: it does not tell them apart." if ratings.says_nothing else ""
    return f"Ratings (mean of the scores, 1 to 10): {'; '.join(parts)}.{silent}"


def _list_counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{n} x {mean}" for mean, n in counts.items())


def _word_gates(judge: JudgeCalibration) -> str:
    """Which check caught the bad rows, if both were used."""
    if not judge.n_answered:
        return ""
    return (
        f" Its ratings alone rejected {judge.n_caught_by_rating} of the {judge.n_bad} bad ones;"
        f" of the {judge.n_answered} that it also answered blindly, {judge.n_caught_by_answer}."
    )


def describe_rows(summary: RunSummary, unpriced: Sequence[str] = ()) -> str:
    """Added rows requested, written, accepted and rejected, with reasons, and what each cost.

    Args:
        unpriced: roles that were asked, may cost money and have no price.
    """
    rows, is_finished = summary.rows, summary.stop_reason != NOT_FINISHED
    if not rows.requested:
        return "Synthetic rows: none." if is_finished else "Synthetic rows: not counted yet."
    reasons = ", ".join(f"{stage} {n}" for stage, n in sorted(rows.rejected.items()) if n) or "none"
    filled = "" if rows.fill_rate is None else f" ({percent(rows.fill_rate)})"
    return (
        f"{_name_rows(summary)}, {rows.accepted} joined the training data{filled}{'' if is_finished else ' so far'}."
        f" Not used: {reasons}." + describe_solving(summary) + describe_row_cost(rows.each, unpriced)
    )


def _name_rows(summary: RunSummary) -> str:
    """How many rows were wanted, and how many were there to choose from: written by an LLM, or real ones that were held back."""
    branches = {name for batch_round in summary.batches for name in batch_round.by_strategy}
    name, made = ("Synthetic rows", "written") if _REAL not in branches else ("Real rows", "found")
    if _REAL in branches and len(branches) > 1:
        name, made = "Synthetic and real rows", "written or found"
    return f"{name}: {summary.rows.requested} wanted, {summary.rows.written} {made}"


def describe_pauses(elapsed_seconds: float, whole_seconds: float | None) -> str:
    """Over how long the run was spread, in brackets. Empty if pauses were less than a tenth of it, or are unknown."""
    if whole_seconds is None or whole_seconds - elapsed_seconds < whole_seconds / 10:
        return ""
    return f" (over {duration(whole_seconds)}, with pauses)"


def describe_row_cost(each: RowCost | None, unpriced: Sequence[str] = ()) -> str:
    """The cost of a row, or the least that it can be without a price for some roles. Empty if unknown."""
    if each is None or not each.n_calls:
        return ""
    least = "at least " if {"generator", "judge"}.intersection(unpriced) else ""
    money = f", {least}${each.cost_usd:.4f}" if each.cost_usd else ""
    return f" Each took {each.n_calls:.1f} calls and {each.n_tokens:,.0f} tokens of generator and judge{money}."


def describe_solving(summary: RunSummary) -> str:
    """The result of independent solving."""
    if not summary.rows.solved:
        return ""
    refused = summary.rows.rejected.get("verification", 0)
    return f" Of {summary.rows.solved} rows that the judge answered by itself, {refused} got a different answer and were rejected."


def count_errors(pattern: ErrorPattern) -> str:
    return count(len(pattern.example_ids), "error")


def _model_row(model: ModelResult, *, is_best: bool, with_test: bool, with_steps: bool) -> list[str]:
    v = model.validation
    row = [model.name + " *" * is_best, str(model.n_train_rows), str(model.n_synthetic)]
    unknown = "0" if model.iteration is None else "?"
    row += [unknown if model.n_steps is None else str(model.n_steps)] * with_steps + [str(v.n)]
    row += [percent(v.accuracy), interval(v), percent(model.selection.accuracy)]
    return row + ([percent(model.test.accuracy), interval(model.test)] if model.test else ["", ""]) * with_test


def describe_grouping(found: IterationPatterns) -> str:
    """Silhouette and stability of the clusters, in brackets. Empty if unknown."""
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
