"""The features by which failures are grouped: the analyst's words, the question, and which label was taken for which.

The paper groups by the analyst's words alone. But an analyst repeats its own phrasing within a call, so the words alone
would group failures by call.
"""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pada_agent.core.config import AnalysisConfig
from pada_agent.core.ports import Embedder
from pada_agent.core.records import ErrorAnalysis, FailureTraits, ScoredRow
from pada_agent.evaluation.row_texts import question_of
from pada_agent.evaluation.task import Task

Floats = NDArray[np.float64]

_PARTICULARS = re.compile(r"""'[^']*'|"[^"]*"|`[^`]*`|\d+(?:[.,]\d+)*""")
"""What differs between two failures of one kind: numbers and quoted names."""


def note_traits(failure: ScoredRow, task: Task) -> FailureTraits:
    """What a failure is grouped by besides its analysis."""
    gold = task.closed_label(failure.example)
    return FailureTraits(
        question=question_of(failure.example),
        gold=gold,
        predicted=failure.verdict.extracted if gold is not None else None,
        reason=failure.verdict.reason,
    )


def describe_analysis(analysis: ErrorAnalysis) -> str:
    """The analyst's words as one text, ready to be embedded."""
    return f"{analysis.scenario_category}: {analysis.error_cause}"


def embed_analyses(
    analyses: Sequence[ErrorAnalysis], *, embedder: Embedder, settings: AnalysisConfig
) -> list[list[float]]:
    """One unit vector per analysis: weighted blocks side by side, each of length 1 before weighting."""
    if not analyses:
        return []
    words = np.asarray(embedder.embed([describe_analysis(a) for a in analyses]))
    blocks = [(settings.analysis_weight, words), *_trait_blocks([a.traits for a in analyses], embedder, settings)]
    return [[float(x) for x in row] for row in _join(blocks)]


def nearest_cluster(
    others: Sequence[FailureTraits],
    members: Sequence[FailureTraits],
    labels: Sequence[int],
    *,
    embedder: Embedder,
    settings: AnalysisConfig,
) -> list[int]:
    """For each failure that was not analyzed, the 0-based cluster whose mean vector is nearest by cosine.

    Args:
        others: traits of the failures that were not analyzed.
        members: traits of the clustered failures.
        labels: cluster of each member.
    """
    if not others:
        return []
    joined = _join(_trait_blocks([*members, *others], embedder, settings))
    ours, theirs = joined[: len(members)], joined[len(members) :]
    means = np.stack([ours[np.asarray(labels) == k].mean(axis=0) for k in sorted(set(labels))])
    means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
    return [sorted(set(labels))[int(i)] for i in (theirs @ means.T).argmax(axis=1)]


def order_by_nearness(vectors: Sequence[Sequence[float]]) -> list[int]:
    """Indices of a cluster's vectors, nearest to their mean first. Ties keep their order."""
    points = np.asarray(vectors, dtype=np.float64)
    distances = np.linalg.norm(points - points.mean(axis=0), axis=1).round(9)
    return [int(i) for i in np.argsort(distances, kind="stable")]


def _trait_blocks(
    traits: Sequence[FailureTraits], embedder: Embedder, settings: AnalysisConfig
) -> list[tuple[float, Floats]]:
    questions = (
        np.asarray(embedder.embed([t.question for t in traits])) if settings.question_weight else _nothing(traits)
    )
    outcomes = _outcomes(traits, embedder) if settings.outcome_weight else _nothing(traits)
    return [(settings.question_weight, questions), (settings.outcome_weight, outcomes)]


def _outcomes(traits: Sequence[FailureTraits], embedder: Embedder) -> Floats:
    """For closed labels: 1 at the right label and 1 at the given one, so that both directions of a mix-up count as the same outcome."""
    if any(t.gold is None for t in traits):
        return np.asarray(
            embedder.embed([_PARTICULARS.sub("…", t.reason) or "wrong" for t in traits]), dtype=np.float64
        )
    pairs = [(t.gold or "", t.predicted or "") for t in traits]
    names = sorted({name for pair in pairs for name in pair})
    vectors = np.zeros((len(pairs), len(names)))
    for row, pair in enumerate(pairs):
        vectors[row, [names.index(name) for name in pair]] = 1
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def _nothing(traits: Sequence[FailureTraits]) -> Floats:
    return np.zeros((len(traits), 0))


def _join(blocks: Sequence[tuple[float, Floats]]) -> Floats:
    total = sum(weight for weight, _ in blocks) or 1.0
    joined: Floats = np.hstack([np.sqrt(weight / total) * block for weight, block in blocks])
    return joined
