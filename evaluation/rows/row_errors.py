"""Reports the same fault in many rows as one line."""

from collections.abc import Iterable

from pada_agent.core.errors import RowError

N_PLACES = 3
"""Maximum number of rows that a line names. The others are counted."""
N_VALUES = 5
"""Maximum number of values that a line lists besides the first row's."""


def tell_alike(problems: Iterable[RowError]) -> list[str]:
    """One line for each fault in a file: the first row that has it, how many rows have it, and where the first of them are."""
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
