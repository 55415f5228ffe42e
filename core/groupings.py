"""How a grouping of errors would have turned out with other choices."""

from pada_agent.core.records import Record


class GroupingByNumber(Record):
    """The grouping into `n_clusters`, as if the elbow had chosen that number."""

    n_clusters: int
    inertia: float
    silhouette: float | None
    stability: float | None
    agreement: float
    """Adjusted Rand index against the grouping in use: 1 if they are the same, about 0 if they agree no more than by chance."""


class GroupingByEmbedder(Record):
    """The grouping of the same errors by the vectors of another embedder."""

    embedder: str
    n_clusters: int
    """Chosen by the elbow on its own vectors."""
    silhouette: float | None
    """Silhouette of its own grouping among its own vectors."""
    stability: float | None
    agreement: float
    """Adjusted Rand index of its own grouping against the one in use."""
    agreement_at_number: float
    """The same, with as many clusters as the grouping in use."""


class Sensitivity(Record):
    """How much the grouping of an iteration's errors changes with other choices."""

    n_errors: int
    embedder: str = ""
    """The embedder in use. Empty if the run did not record it."""
    n_clusters: int
    """Number of clusters in use."""
    silhouette: float | None = None
    stability: float | None = None
    by_number: tuple[GroupingByNumber, ...] = ()
    """One entry for each number of clusters that the settings allow and the errors can fill."""
    by_embedder: tuple[GroupingByEmbedder, ...] = ()
