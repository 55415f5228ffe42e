"""How a grouping of errors would have come out with other choices."""

from pada_agent.core.records import Record


class GroupingByNumber(Record):
    """The grouping into `n_clusters`, had the elbow chosen that number."""

    n_clusters: int
    inertia: float
    silhouette: float | None
    stability: float | None
    agreement: float
    """Adjusted Rand index with the grouping that was used: 1 the same groups, about 0 as alike as chance."""


class GroupingByEmbedder(Record):
    """The grouping of the same errors by the vectors of another embedder."""

    embedder: str
    n_clusters: int
    """By the elbow, on its own vectors."""
    silhouette: float | None
    """Of its own grouping, among its own vectors."""
    stability: float | None
    agreement: float
    """Adjusted Rand index of its own grouping with the one that was used."""
    agreement_at_number: float
    """The same, with as many clusters as were used."""


class Sensitivity(Record):
    """How the grouping of an iteration's errors moves with what could have been chosen otherwise."""

    n_errors: int
    embedder: str = ""
    """The one used; empty where the run did not note it."""
    n_clusters: int
    """Those used."""
    silhouette: float | None = None
    stability: float | None = None
    by_number: tuple[GroupingByNumber, ...] = ()
    """One for each number of clusters that the settings allow and the errors can fill."""
    by_embedder: tuple[GroupingByEmbedder, ...] = ()
