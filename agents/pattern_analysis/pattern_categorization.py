"""Pattern categorization subagent: clusters of similar analyses become named error patterns."""

from collections import Counter
from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict, Field

from pada_agent.agents.concurrency import map_concurrently
from pada_agent.agents.pattern_analysis.clustering import Clustering, cluster_vectors
from pada_agent.agents.pattern_analysis.error_analysis import describe_failure
from pada_agent.core.config import AnalysisConfig
from pada_agent.core.errors import StructuredOutputError
from pada_agent.core.ports import Embedder
from pada_agent.core.records import Confusion, ErrorAnalysis, ErrorPattern, Record, ScoredRow
from pada_agent.evaluation.task import Task
from pada_agent.prompts.prompted_model import PromptedModel

MAX_SAMPLES_SHOWN = 8
"""Analyses of one cluster that stand in the prompt."""


class Categorization(Record):
    """The patterns of a round, how they were grouped, and clusters that could not be named."""

    patterns: tuple[ErrorPattern, ...]
    clustering: Clustering
    warnings: tuple[str, ...] = ()


class PatternItem(BaseModel):
    """What the LLM returns for one cluster."""

    model_config = ConfigDict(extra="ignore")

    category_name: str = Field(min_length=2, description="short name of the error category")
    error_pattern: str = Field(
        min_length=10, description="what goes wrong in these samples and when, 1 to 3 sentences, without quoting them"
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
) -> Categorization:
    """Embed the analyses, group them, and have each group named by one LLM call.

    Args:
        failures: by example id; must hold every analysed one.
    """
    vectors = embedder.embed([describe_analysis(a) for a in analyses])
    clustering = cluster_vectors(vectors, k_min=settings.min_clusters, k_max=settings.max_clusters, seed=seed)
    members = [
        [a for a, label in zip(analyses, clustering.labels, strict=True) if label == k]
        for k in range(clustering.n_clusters)
    ]

    def name_cluster(k: int) -> ErrorPattern | str:
        return _name_cluster(members[k], failures, task=task, analyst=analyst, pattern_id=f"i{iteration}-p{k + 1}")

    named = map_concurrently(name_cluster, range(clustering.n_clusters))
    return Categorization(
        patterns=tuple(p for p in named if isinstance(p, ErrorPattern)),
        clustering=clustering,
        warnings=tuple(w for w in named if isinstance(w, str)),
    )


def describe_analysis(analysis: ErrorAnalysis) -> str:
    """What an analysis is grouped by."""
    return f"{analysis.scenario_category}: {analysis.error_cause}"


def centroids_of(patterns: Sequence[ErrorPattern], clustering: Clustering) -> dict[str, tuple[float, ...]]:
    """Unit vector of each pattern's cluster, by pattern id."""
    return {p.id: clustering.centroids[int(p.id.rsplit("-p", 1)[1]) - 1] for p in patterns}


def count_confusions(failures: Sequence[ScoredRow], task: Task) -> tuple[Confusion, ...]:
    """Gold label against the label given, most frequent first; empty for tasks without a closed label set."""
    pairs = Counter(
        (gold, failure.verdict.extracted or "")
        for failure in failures
        if (gold := task.closed_label(failure.example)) is not None
    )
    return tuple(
        Confusion(gold=g, predicted=p, count=n) for (g, p), n in sorted(pairs.items(), key=lambda kv: (-kv[1], kv[0]))
    )


def _name_cluster(
    analyses: Sequence[ErrorAnalysis],
    failures: Mapping[str, ScoredRow],
    *,
    task: Task,
    analyst: PromptedModel,
    pattern_id: str,
) -> ErrorPattern | str:
    shown = analyses[:MAX_SAMPLES_SHOWN]
    confusions = count_confusions([failures[a.example_id] for a in analyses], task)
    variables = {
        "task": task.config.description,
        "samples": [
            {**describe_failure(failures[a.example_id], task), "cause": a.error_cause, "scenario": a.scenario_category}
            for a in shown
        ],
        "n_errors": len(analyses),
        "confusions": confusions[:5],
    }
    try:
        reply = analyst.ask(
            "pattern_categorization",
            variables,
            PatternItem,
            wrap="object",
            tags={"agent": "pattern_categorization", "pattern": pattern_id},
        )
    except StructuredOutputError as exc:
        return f"pattern categorization: a cluster of {len(analyses)} errors got no name ({exc})"
    item = reply.items[0]
    return ErrorPattern(
        id=pattern_id,
        category_name=item.category_name,
        error_pattern=item.error_pattern,
        example_ids=tuple(a.example_id for a in analyses),
        representative_ids=tuple(
            shown[i - 1].example_id for i in item.representative_samples[:2] if 1 <= i <= len(shown)
        ),
        confusions=confusions,
    )
