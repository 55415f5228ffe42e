"""Works out what became of each iteration's patterns, from what the store holds."""

from collections import Counter
from collections.abc import Mapping, Sequence

from pada_agent.agents.pattern_analysis.clustering import Clustering
from pada_agent.agents.pattern_analysis.pattern_tracking import (
    PatternOutcome,
    assess_patterns,
    find_broken,
    nearest_pattern,
    repaired_share,
)
from pada_agent.core.records import ErrorPattern, Example, ScoredRow, Usage
from pada_agent.evaluation.row_texts import question_of
from pada_agent.graph.adapters import Adapters
from pada_agent.graph.batch_rounds import read_reports
from pada_agent.graph.models import TrainedModel, choose_best
from pada_agent.graph.state import RunState


def read_measured(model: TrainedModel, adapters: Adapters) -> list[ScoredRow]:
    """Every validation row with the model's answer and the verdict on it. Empty before the model was measured."""
    return adapters.store.read_rows(model.measured.key, ScoredRow) if model.measured else []


def read_clusterings(state: RunState, adapters: Adapters) -> dict[str, Clustering]:
    """The clustering of each iteration."""
    refs = state.get("clusterings", {})
    return {i: Clustering.model_validate(adapters.store.read_json(ref.key)) for i, ref in refs.items()}


def find_repaired_shares(state: RunState, adapters: Adapters) -> dict[str, float]:
    """For each pattern of the last iteration, the share of its rows that was repaired. Empty if rows are divided evenly."""
    if state["settings"].generation.allocation == "even":
        return {}
    outcomes = assess_iteration(state["iteration"], state, adapters, usage={})
    return {o.pattern_id: repaired_share(o.n_repaired, o.n_rows) for o in outcomes}


def assess_iteration(
    iteration: int, state: RunState, adapters: Adapters, *, usage: Mapping[str, Usage]
) -> tuple[PatternOutcome, ...]:
    """What became of an iteration's patterns. Empty if the iteration produced no model to measure."""
    patterns = state.get("patterns", {}).get(str(iteration), [])
    models = list(state["models"].values())
    model = next((a for a in models if a.iteration == iteration), None)
    if not patterns or model is None:
        return ()
    n_diagnosis = state["data"].n_diagnosis
    before = read_measured(choose_best([a for a in models if (a.iteration or 0) < iteration]), adapters)[:n_diagnosis]
    after = read_measured(model, adapters)[:n_diagnosis]
    broken = find_broken([row.verdict for row in before], [row.verdict for row in after])
    return assess_patterns(
        patterns,
        state.get("strategies", {}).get(str(iteration), []),
        read_reports(state.get("batches", {}).values(), adapters.store, iteration=iteration),
        after={row.example.id: row.verdict for row in after},
        broken=assign_broken(broken, patterns, [row.example for row in after], adapters),
        joined=Counter(row.provenance.batch_id for row in read_added(model, adapters) if row.provenance),
        usage=usage,
    )


def read_added(model: TrainedModel, adapters: Adapters) -> list[Example]:
    """The synthetic rows that the model's own iteration added."""
    return adapters.store.read_rows(model.synthetic[-1].key, Example) if model.synthetic else []


def assign_broken(
    broken: Sequence[str], patterns: Sequence[ErrorPattern], rows: Sequence[Example], adapters: Adapters
) -> dict[str, str]:
    """Map each newly wrong row to the pattern that contains the row with the nearest question."""
    if not broken:
        return {}
    wanted = {*broken, *(i for p in patterns for i in p.example_ids)}
    compared = [row for row in rows if row.id in wanted]
    vectors = adapters.embedder.embed([question_of(row) for row in compared])
    return nearest_pattern(broken, patterns, {row.id: v for row, v in zip(compared, vectors, strict=True)})
