"""Groups the errors of a finished run again with other embedders, for its report."""

from collections.abc import Sequence
from pathlib import Path

from pada_agent.agents.pattern_analysis.clustering import cluster_vectors
from pada_agent.agents.pattern_analysis.failure_features import describe_analysis, embed_analyses
from pada_agent.agents.pattern_analysis.sensitivity import measure_sensitivity
from pada_agent.app.adapters.embedder import OWN, AbsentEmbedder, SentenceEmbedder
from pada_agent.app.adapters.storage import model_store
from pada_agent.app.adapters.storage.artifacts import write_atomically
from pada_agent.app.report.reading import sensitivity_path
from pada_agent.app.run_folder import layout
from pada_agent.core.config import RunConfig
from pada_agent.core.errors import ArtifactError
from pada_agent.core.ports import Embedder
from pada_agent.core.records import ErrorAnalysis


def load_embedder(name: str) -> Embedder:
    """Load an embedder by its name in the model store, folder or hub id."""
    return AbsentEmbedder(name) if name.startswith(OWN) else SentenceEmbedder(str(model_store.resolve(name)))


def compare_embedders(folder: Path, names: Sequence[str]) -> None:
    """Write `iterations/<i>/grouping.json` for every iteration that analyzed errors. The report then shows it.

    Raises:
        ArtifactError: this is not a finished run, no errors were analyzed, or an embedder cannot be loaded.
    """
    config, summary = layout.load_run_config(folder), layout.load_summary(folder)
    paths = [folder / "iterations" / iteration / "error_analyses.jsonl" for iteration in summary.analyses]
    if not paths:
        raise ArtifactError(f"{folder}: no errors were analyzed in this run, so there is nothing to regroup.")
    # The named ones first: a name that cannot be loaded is told before the run's own embedder is looked for.
    others = {name: load_embedder(name) for name in names}
    used = load_embedder(config.models.embedder)
    for path in paths:
        _regroup(path, folder, config, used, others)


def _regroup(path: Path, folder: Path, config: RunConfig, used: Embedder, others: dict[str, Embedder]) -> None:
    analyses, settings = layout.read_lines(path, ErrorAnalysis), config.analysis
    compared = {n: embed_analyses(analyses, embedder=e, settings=settings) for n, e in others.items()}
    vectors = embed_analyses(analyses, embedder=used, settings=settings)
    # As the run did: k-means is the same for the same vectors and seed.
    grouped = cluster_vectors(vectors, k_min=settings.min_clusters, k_max=settings.max_clusters, seed=config.seed)
    found = measure_sensitivity(
        [describe_analysis(a) for a in analyses],
        vectors,
        grouped,
        settings=settings,
        seed=config.seed,
        embedder=config.models.embedder,
        others=compared,
    )
    write_atomically(sensitivity_path(folder, int(path.parent.name)), found.model_dump_json(indent=2) + "\n")
