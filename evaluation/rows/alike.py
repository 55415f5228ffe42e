"""The same fault in many rows, told in one line."""

from collections.abc import Iterable

from pada_agent.core.errors import RowError

N_PLACES = 3
"""Rows that a line names; the rest is counted."""
N_VALUES = 5
"""Other values than the first row's that a line names."""


def tell_alike(problems: Iterable[RowError]) -> list[str]:
    """A line for each fault of a file: the first row that has it, how many there are, and where the first of them are."""
    alike: dict[tuple[str, str], list[RowError]] = {}
    for problem in problems:
        alike.setdefault((problem.where.rpartition(":")[0], problem.kind), []).append(problem)
    return [_tell(group) for group in alike.values()]


def _tell(alike: list[RowError]) -> str:
    if len(alike) == 1:
        return str(alike[0])
    places = list(dict.fromkeys(problem.where.rpartition(":")[2] for problem in alike))
    more = ", …" if len(places) > N_PLACES else ""
    return f"{alike[0]} ({len(alike):,} rows like this: {', '.join(places[:N_PLACES])}{more}{_tell_values(alike)})"


def _tell_values(alike: list[RowError]) -> str:
    values = list(dict.fromkeys(problem.value for problem in alike if problem.value))[1:]
    more = f" and {len(values) - N_VALUES} more" if len(values) > N_VALUES else ""
    return f"; they also have {', '.join(values[:N_VALUES])}{more}" if values else ""
