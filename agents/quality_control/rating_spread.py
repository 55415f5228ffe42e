"""Whether the judge's ratings differ between rows at all."""

from collections import Counter
from collections.abc import Iterable

from pydantic import Field

from pada_agent.core.records import Rating, Record

MIN_RATED = 10
"""Minimum number of accepted rows for equal ratings to mean something."""


class RatingSpread(Record):
    """Number of rows by the mean of their scores, which is rounded to one decimal."""

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
        """Whether all accepted rows have the same rating although there are enough of them to tell."""
        return len(self.accepted) == 1 and self.n_accepted >= MIN_RATED


def spread_ratings(*, accepted: Iterable[Rating], refused: Iterable[Rating]) -> RatingSpread:
    """Count accepted and rejected rows by rating, best rating first."""
    return RatingSpread(accepted=_count(accepted), refused=_count(refused))


def _count(ratings: Iterable[Rating]) -> dict[str, int]:
    counts = Counter(round(rating.mean, 1) for rating in ratings)
    return {f"{mean:g}": counts[mean] for mean in sorted(counts, reverse=True)}
