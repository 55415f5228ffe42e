"""What earlier tables of a grid showed. Comparisons that were chosen, and seeds that were added, after a look at results are told: p values do not
account for such choices.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pydantic import ValidationError

from pada_agent.core.records import Record
from pada_agent.core.wording import agree, list_some

if TYPE_CHECKING:
    from pada_agent.app.experiment.results import ExperimentResult

ItemT = TypeVar("ItemT")


class History(Record):
    """The tables of one grid, up to the present one."""

    first_seeds: tuple[int, ...]
    """Seeds of the first table."""
    seeds: tuple[int, ...]
    arms: tuple[str, ...]
    pairs: tuple[str, ...]
    """All comparisons that were ever declared."""
    late: tuple[str, ...] = ()
    """Those that were declared when a table had already shown both arms."""


def read_earlier(path: Path, kind: type["ExperimentResult"]) -> "ExperimentResult | None":
    """The result that was written there before. None if there is none that can be read."""
    try:
        return kind.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def carry_on(result: "ExperimentResult", earlier: "ExperimentResult | None") -> "ExperimentResult":
    """The result with the history of its grid, and notes on what was chosen after a look at results."""
    now = _begin(result)
    history = _extend(earlier.history or _begin(earlier), now) if earlier else now
    return result.model_copy(update={"history": history, "notes": (*result.notes, *_tell(history, now))})


def _begin(result: "ExperimentResult") -> History:
    seeds = _join(seed for outcome in result.outcomes for seed in outcome.seeds)
    arms = _join(arm for outcome in result.outcomes for arm in (outcome.arm, *outcome.also))
    pairs = _join(f"{pair.arm} against {pair.against}" for pair in result.pairs)
    return History(first_seeds=seeds, seeds=seeds, arms=arms, pairs=pairs)


def _extend(known: History, now: History) -> History:
    new = (pair for pair in now.pairs if pair not in known.pairs)
    late = (pair for pair in new if all(arm in known.arms for arm in pair.split(" against ")))
    return History(
        first_seeds=known.first_seeds,
        seeds=_join([*known.seeds, *now.seeds]),
        arms=_join([*known.arms, *now.arms]),
        pairs=_join([*known.pairs, *now.pairs]),
        late=_join([*known.late, *late]),
    )


def _tell(history: History, now: History) -> Iterator[str]:
    if late := [pair for pair in now.pairs if pair in history.late]:
        yield f"{list_some(late)}: declared after a table had shown both arms, so not chosen beforehand."
    if left_out := [pair for pair in history.pairs if pair not in now.pairs]:
        yield (
            f"{list_some(left_out)}: declared in an earlier table, and no longer. p values are corrected for fewer comparisons than were"
            " looked at."
        )
    if added := [str(seed) for seed in now.seeds if seed not in history.first_seeds]:
        yield (
            f"{agree(len(added), 'Seed', 'Seeds')} {list_some(added)} {agree(len(added), 'was', 'were')} added after the first table. If"
            " its results were the reason, p values are too small."
        )
    if dropped := [str(seed) for seed in history.seeds if seed not in now.seeds]:
        yield (
            f"{agree(len(dropped), 'Seed', 'Seeds')} {list_some(dropped)} of an earlier table"
            f" {agree(len(dropped), 'is', 'are')} left out."
        )


def _join(items: Iterable[ItemT]) -> tuple[ItemT, ...]:
    """In their order, each once."""
    return tuple(dict.fromkeys(items))
