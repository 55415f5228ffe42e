"""The three subagents of pattern analysis as nodes."""

from collections.abc import Sequence
from random import Random

from pada_agent.agents.data_generation.batch_planning import rows_by_label
from pada_agent.agents.data_generation.pattern_sources import bind_to_rows
from pada_agent.agents.pattern_analysis.clustering import Clustering
from pada_agent.agents.pattern_analysis.error_analysis import analyze_errors, sample_failures
from pada_agent.agents.pattern_analysis.failure_features import describe_analysis
from pada_agent.agents.pattern_analysis.pattern_categorization import (
    Categorization,
    categorize_patterns,
    centroids_of,
)
from pada_agent.agents.pattern_analysis.pattern_tracking import link_patterns
from pada_agent.agents.pattern_analysis.sensitivity import measure_sensitivity
from pada_agent.agents.pattern_analysis.strategy_drafting import draft_strategies, split_by_known_labels
from pada_agent.core.records import ErrorAnalysis, ErrorPattern, Ref, Strategy
from pada_agent.graph.adapters import Adapters
from pada_agent.graph.reporting import report_progress, report_stage
from pada_agent.graph.rows import read_training, read_validation_failures
from pada_agent.graph.state import AnalysisState, PartialState
from pada_agent.graph.storing import put_rows
from pada_agent.prompts.prompted_model import PromptedModel


def error_analysis(state: AnalysisState, adapters: Adapters) -> PartialState:
    """Have a root cause and a scenario named for each sampled validation failure."""
    settings = state["settings"]
    failures = sample_failures(
        list(read_validation_failures(state, adapters).values()),
        limit=settings.analysis.max_errors,
        rng=Random(f"errors/{settings.seed}/{state['iteration']}"),
    )
    result = analyze_errors(
        failures,
        task=adapters.task,
        analyst=_analyst(state, adapters),
        per_call=settings.analysis.errors_per_call,
        report=report_progress,
    )
    ref = put_rows(adapters.store, "error-analyses", list(result.analyses))
    report_stage("error_analysis", adapters, errors=len(failures), analyzed=ref.rows)
    return {"analyses": {str(state["iteration"]): ref}, "warnings": _label(result.warnings, state)}


def pattern_categorization(state: AnalysisState, adapters: Adapters) -> PartialState:
    """Group the analyses and have each group's error pattern named."""
    settings, iteration = state["settings"], state["iteration"]
    analyses = adapters.store.read_rows(state["analyses"][str(iteration)].key, ErrorAnalysis)
    if not analyses:
        return {"patterns": {str(iteration): []}}
    result = categorize_patterns(
        analyses,
        read_validation_failures(state, adapters),
        task=adapters.task,
        analyst=_analyst(state, adapters),
        embedder=adapters.embedder,
        settings=settings.analysis,
        iteration=iteration,
        seed=settings.seed,
        report=report_progress,
    )
    clustering = try_other_groupings(result, analyses, state)
    grouped = Ref(key=adapters.store.key("clustering", clustering), rows=len(analyses))
    adapters.store.write_json(grouped.key, clustering.model_dump())
    report_stage("pattern_categorization", adapters, analyses=len(analyses), patterns=len(result.patterns))
    return {
        "clusterings": {str(iteration): grouped},
        "patterns": {str(iteration): recognize(result, state, adapters)},
        "warnings": _label(result.warnings, state),
    }


def try_other_groupings(found: Categorization, analyses: list[ErrorAnalysis], state: AnalysisState) -> Clustering:
    """The clustering, with how much it changes with the number of clusters and with the embedder. Only the report uses this."""
    settings = state["settings"]
    moved = measure_sensitivity(
        [describe_analysis(a) for a in analyses],
        found.vectors,
        found.clustering,
        settings=settings.analysis,
        seed=settings.seed,
        embedder=settings.models.embedder,
    )
    return found.clustering.model_copy(update={"sensitivity": moved})


def recognize(found: Categorization, state: AnalysisState, adapters: Adapters) -> list[ErrorPattern]:
    """The patterns, each linked to the previous iteration's pattern that it continues, if any."""
    before = str(state["iteration"] - 1)
    previous, ref = state.get("patterns", {}).get(before, []), state.get("clusterings", {}).get(before)
    if not previous or ref is None:
        return list(found.patterns)
    grouped = Clustering.model_validate(adapters.store.read_json(ref.key))
    return list(
        link_patterns(
            found.patterns,
            previous,
            centroids=centroids_of(found.patterns, found.clustering),
            previous_centroids=centroids_of(previous, grouped),
        )
    )


def strategy_drafting(state: AnalysisState, adapters: Adapters) -> PartialState:
    """Draft one data generation strategy per pattern for which rows can be written."""
    known = rows_by_label(read_training(state, adapters), adapters.task)
    patterns, lost = split_by_known_labels(state["patterns"][str(state["iteration"])], known)
    if not patterns:
        return {"drafted": [], "warnings": _label(lost, state)}
    result = draft_strategies(
        patterns,
        task=adapters.task,
        analyst=_analyst(state, adapters),
        may_repeat=state["settings"].generation.strategy_text == "none",
    )
    report_stage("strategy_drafting", adapters, patterns=len(patterns), strategies=len(result.strategies))
    warnings = _label((*lost, *result.warnings), state)
    return {"drafted": bind_strategies(result.strategies, state, adapters), "warnings": warnings}


def bind_strategies(strategies: Sequence[Strategy], state: AnalysisState, adapters: Adapters) -> list[Strategy]:
    """The strategies with the training rows they are applied to, if the settings ask for those near the failures."""
    if state["settings"].generation.pattern_sources == "random":
        return list(strategies)
    patterns, training = state["patterns"][str(state["iteration"])], read_training(state, adapters)
    failures = read_validation_failures(state, adapters)
    return bind_to_rows(strategies, patterns, failures, training, embedder=adapters.embedder)


def _analyst(state: AnalysisState, adapters: Adapters) -> PromptedModel:
    return adapters.analyst.tagged(iteration=state["iteration"])


def _label(warnings: tuple[str, ...], state: AnalysisState) -> list[str]:
    return [f"iteration {state['iteration']}: {warning}" for warning in warnings]
