"""Positions of marks in the report's charts, in percent of the width, so that text keeps its size on a phone."""

from collections.abc import Sequence
from math import ceil, floor, log10

from pada_agent.core.records import Record

MAX_TICKS = 6


class Tick(Record):
    """A mark on the axis."""

    at: float
    """In percent of the width."""
    label: str


class Scale(Record):
    """An axis from 0 to a round number."""

    top: float
    ticks: tuple[Tick, ...]

    def at(self, value: float) -> float:
        """Position of a value, in percent of the width."""
        return round(100 * value / self.top, 2)


class Piece(Record):
    """A section of a stacked bar, in percent of the width."""

    at: float
    width: float


def make_scale(largest: float, *, whole: bool = False) -> Scale:
    """An axis with few ticks that ends at the first multiple of a 1-2-5 step at or above `largest`.

    Args:
        whole: use whole numbers only, for counts.
    """
    step = max(_choose_step(largest), float(whole))
    n = max(1, ceil(round(largest / step, 9)))
    return Scale(
        top=n * step, ticks=tuple(Tick(at=round(100 * i / n, 2), label=f"{i * step:,.10g}") for i in range(n + 1))
    )


def stack(values: Sequence[float], scale: Scale) -> list[Piece]:
    """The values next to each other, starting at 0."""
    starts = [sum(values[:i]) for i in range(len(values))]
    return [Piece(at=scale.at(start), width=scale.at(value)) for start, value in zip(starts, values, strict=True)]


def _choose_step(largest: float) -> float:
    if largest <= 0:
        return 1.0
    power = 10.0 ** floor(log10(largest / (MAX_TICKS - 1)))
    return next(m * power for m in (1.0, 2.0, 5.0, 10.0) if largest / (m * power) <= MAX_TICKS - 1)
