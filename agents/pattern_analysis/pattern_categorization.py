"""Pattern categorization subagent: groups similar analyses and names the error pattern of each group."""

from collections import Counter
from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict, Field

from pada_agent.agents.pattern_analysis.clustering import Clustering, cluster_vectors, mean_vectors
from pada_agent.agents.pattern_analysis.error_analysis import describe_failure
from pada_agent.agents.pattern_analysis.failure_features import (
    describe_analysis,
    embed_analyses,
    nearest_cluster,
    note_traits,
    order_by_nearness,
)
from pada_agent.agents.unusable_answers import describe_unusable
from pada_agent.core.concurrency import map_concurrently
from pada_agent.core.config import AnalysisConfig
from pada_agent.core.ports import Embedder
from pada_agent.core.records import Confusion, ErrorAnalysis, ErrorPattern, Record, ScoredRow
from pada_agent.core.tally import Report, Tally, report_nowhere
from pada_agent.core.wording import count
from pada_agent.evaluation.task import Task
from pada_agent.prompts.prompted_model import NoReply, PromptedModel, try_ask
from pada_agent.prompts.text_lengths import at_least

MAX_SAMPLES_SHOWN = 8
"""Number of analyses of one cluster in the prompt: those nearest to its center."""

MAX_PAIRS_SHOWN = 6
"""Number of a cluster's mix-ups in the prompts for naming and drafting, most frequent first."""


class Categorization(Record):
    """The patterns of a round, how they were grouped, and warnings about clusters that could not be named."""

    patterns: tuple[ErrorPattern, ...]
    clustering: Clustering
    vectors: Sequence[Sequence[float]]
    """What was clustered: one unit vector per analysis, shape `(n, d)`."""
    warnings: tuple[str, ...] = ()


class PatternItem(BaseModel):
    """What the LLM returns for one cluster."""

    model_config = ConfigDict(extra="ignore")

    category_name: str = at_least(2, "short name of the error category")
    error_pattern: str = at_least(
        10, "what goes wrong in these samples and when, 1 to 3 sentences, without quoting them"
    )
    representative_samples: list[int] = Field(default_factory=list, description="numbers of one or two typical samples")


def categorize_patterns(
    analyses: Sequence[ErrorAnalysis],
    failures: Mapping[str, ScoredRow],
    *,
    task: Task,
    analyst: PromptedModel,
    embedder: Embedder,
    settings: AnalysisConfig,
    iteration: int,
    seed: int,
    report: Report = report_nowhere,
) -> Categorization:
    """Group the analyzed failures, add those that were not analyzed, and have each group named by one LLM call.

    Args:
        failures: all failures of the diagnosis part, by example id. Must contain every analyzed one.
    """
    vectors = embed_analyses(analyses, embedder=embedder, settings=settings)
    clustering = cluster_vectors(vectors, k_min=settings.min_clusters, k_max=settings.max_clusters, seed=seed)
    groups = form_groups(analyses, vectors, clustering)
    joining = join_unanalyzed(analyses, failures, clustering, task=task, embedder=embedder, settings=settings)
    tally = Tally("pattern_categorization", clustering.n_clusters, unit="patterns")
    tally.begin(report)

    def name_group(k: int) -> ErrorPattern | NoReply:
        joined = joining.get(k, [])
        named = _name_group(groups[k], joined, failures, task=task, analyst=analyst, iteration=iteration, cluster=k)
        tally.add(1, report)
        return named

    named = map_concurrently(name_group, range(clustering.n_clusters))
    patterns = tuple(n for n in named if isinstance(n, ErrorPattern))
    unnamed = [n.reason for n in named if isinstance(n, NoReply)]
    problem = describe_unusable("analyst", unnamed, n_usable=len(patterns))
    n_errors = sum(len(group) for group, n in zip(groups, named, strict=True) if isinstance(n, NoReply))
    words = embedder.embed([describe_analysis(a) for a in analyses])
    return Categorization(
        patterns=patterns,
        clustering=clustering.model_copy(update={"centroids": mean_vectors(words, clustering.labels)}),
        vectors=vectors,
        warnings=(
            (
                f"pattern categorization: {count(len(unnamed), 'cluster')} of {count(n_errors, 'error')} got no name: {problem}",
            )
            if problem
            else ()
        ),
    )


def form_groups(
    analyses: Sequence[ErrorAnalysis], vectors: Sequence[Sequence[float]], clustering: Clustering
) -> list[list[ErrorAnalysis]]:
    """The analyses of each cluster, nearest to its center first."""
    groups = []
    for k in range(clustering.n_clusters):
        places = [i for i, label in enumerate(clustering.labels) if label == k]
        groups.append([analyses[places[i]] for i in order_by_nearness([vectors[i] for i in places])])
    return groups


def join_unanalyzed(
    analyses: Sequence[ErrorAnalysis],
    failures: Mapping[str, ScoredRow],
    clustering: Clustering,
    *,
    task: Task,
    embedder: Embedder,
    settings: AnalysisConfig,
) -> dict[int, list[str]]:
    """Ids of failures that the analyst did not read, by the 0-based cluster that they are most similar to.

    Empty if failures are grouped by the analyst's words alone.
    """
    read = {a.example_id for a in analyses}
    others = [f for f in failures.values() if f.example.id not in read]
    if not settings.question_weight + settings.outcome_weight:
        return {}
    clusters = nearest_cluster(
        [note_traits(f, task) for f in others],
        [note_traits(failures[a.example_id], task) for a in analyses],
        clustering.labels,
        embedder=embedder,
        settings=settings,
    )
    joining: dict[int, list[str]] = {}
    for failure, k in zip(others, clusters, strict=True):
        joining.setdefault(k, []).append(failure.example.id)
    return joining


def centroids_of(patterns: Sequence[ErrorPattern], clustering: Clustering) -> dict[str, tuple[float, ...]]:
    """Unit vector of each pattern's cluster, by pattern id."""
    return {p.id: clustering.centroids[p.cluster] for p in patterns}


def count_confusions(failures: Sequence[ScoredRow], task: Task) -> tuple[Confusion, ...]:
    """How often each gold label was mistaken for which other label, most frequent first. Empty for tasks without a closed label set."""
    pairs = Counter(
        (gold, failure.verdict.extracted or "")
        for failure in failures
        if (gold := task.closed_label(failure.example)) is not None
    )
    return tuple(
        Confusion(gold=g, predicted=p, count=n) for (g, p), n in sorted(pairs.items(), key=lambda kv: (-kv[1], kv[0]))
    )


def _name_group(
    analyses: Sequence[ErrorAnalysis],
    joining: Sequence[str],
    failures: Mapping[str, ScoredRow],
    *,
    task: Task,
    analyst: PromptedModel,
    iteration: int,
    cluster: int,
) -> ErrorPattern | NoReply:
    pattern_id = f"i{iteration}-p{cluster + 1}"
    ids = (*(a.example_id for a in analyses), *joining)
    confusions = count_confusions([failures[i] for i in ids], task)
    shown = analyses[:MAX_SAMPLES_SHOWN]
    variables = {
        "task": task.about([failures[a.example_id].example for a in shown]),
        "samples": [_show(a, failures, task) for a in shown],
        "n_errors": len(ids),
        "confusions": confusions[:MAX_PAIRS_SHOWN],
        "labels": define_labels(confusions[:MAX_PAIRS_SHOWN], task),
    }
    reply = try_ask(
        analyst.ask,
        "pattern_categorization",
        variables,
        PatternItem,
        wrap="object",
        tags={"agent": "pattern_categorization", "pattern": pattern_id},
    )
    if isinstance(reply, NoReply):
        return reply
    item = reply.items[0]
    chosen = [shown[i - 1].example_id for i in item.representative_samples[:2] if 1 <= i <= len(shown)]
    return ErrorPattern(
        id=pattern_id,
        category_name=item.category_name,
        error_pattern=item.error_pattern,
        example_ids=ids,
        n_analyzed=len(analyses),
        representative_ids=tuple(chosen),
        confusions=confusions,
        cluster=cluster,
    )


def define_labels(confusions: Sequence[Confusion], task: Task) -> dict[str, str]:
    """Definitions of the labels that occur in these mix-ups, by label."""
    names = {name for c in confusions for name in (c.gold, c.predicted)}
    return {name: meaning for name, meaning in task.config.labels.items() if name in names}


def _show(analysis: ErrorAnalysis, failures: Mapping[str, ScoredRow], task: Task) -> dict[str, object]:
    return {
        **describe_failure(failures[analysis.example_id], task),
        "first_wrong_step": analysis.first_wrong_step,
        "cause": analysis.error_cause,
        "scenario": analysis.scenario_category,
    }
