"""Whether the judge's ratings tell rows apart at all."""

from collections import Counter
from collections.abc import Iterable

from pydantic import Field

from pada_agent.core.records import Rating, Record

MIN_RATED = 10
"""Accepted rows from which equal ratings mean something."""


class RatingSpread(Record):
    """Rows by the mean of their scores, rounded to one decimal."""

    accepted: dict[str, int] = Field(default_factory=dict)
    refused: dict[str, int] = Field(default_factory=dict)

    @property
    def n_accepted(self) -> int:
        return sum(self.accepted.values())

    @property
    def n_refused(self) -> int:
        return sum(self.refused.values())

    @property
    def says_nothing(self) -> bool:
        """Whether all accepted rows, of which there are enough, have one and the same rating."""
        return len(self.accepted) == 1 and self.n_accepted >= MIN_RATED


def spread_ratings(*, accepted: Iterable[Rating], refused: Iterable[Rating]) -> RatingSpread:
    """Count both, best rating first."""
    return RatingSpread(accepted=_count(accepted), refused=_count(refused))


def _count(ratings: Iterable[Rating]) -> dict[str, int]:
    counts = Counter(round(rating.mean, 1) for rating in ratings)
    return {f"{mean:g}": counts[mean] for mean in sorted(counts, reverse=True)}
