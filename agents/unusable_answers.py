"""Summarizes LLM replies that could not be used: one line per kind of call instead of one per call. Pure functions."""

from collections.abc import Sequence
from itertools import takewhile
from threading import Lock

from pada_agent.core.records import BatchReport, Unusable
from pada_agent.core.wording import count

TRIES = 3
"""After this many calls of a kind without one usable reply, the model evidently does not answer in the required form."""

TRIES_AT_ONCE = 10
"""The same for batches that are made at the same time: if at least so many that were begun first all failed, those that are left are not
begun."""

GENERATOR, JUDGE, SOLVER = "generator", "judge", "judge, answering rows itself,"
"""Kinds of calls, as messages name them."""


class AnswerCount:
    """Which batches of an iteration got usable answers so far. Thread-safe."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._usable = set[str]()
        """Kinds of calls with at least one usable answer."""
        self._labels: dict[str, dict[str, str | None]] = {}
        """The batches that were begun and their labels, in this order, by kind of call."""
        self._failed: dict[str, set[str]] = {}
        """The batches with an unusable answer, by kind of call."""

    def begin(self, kind: str, batch_id: str, *, label: str | None) -> None:
        """Note that a batch is asked for.

        Args:
            label: what the rows of the batch have in common. A model may refuse to write about one label, and write of others.
        """
        with self._lock:
            self._labels.setdefault(kind, {}).setdefault(batch_id, label)

    def end(self, kind: str, batch_id: str, *, is_usable: bool) -> None:
        """Note the answer."""
        with self._lock:
            if is_usable:
                self._usable.add(kind)
            else:
                self._failed.setdefault(kind, set()).add(batch_id)

    @property
    def is_hopeless(self) -> bool:
        """Whether rows or ratings never came in a usable form, so that no more rows need to be written.

        What was begun first has to have failed: a prompt that is too long or filtered fails at once, while others are being answered.
        """
        with self._lock:
            return any(self._is_hopeless(kind) for kind in self._failed.keys() - self._usable)

    def _is_hopeless(self, kind: str) -> bool:
        failed, begun = self._failed[kind], self._labels.get(kind, {})
        labels = [label for _, label in takewhile(lambda batch: batch[0] in failed, begun.items())]
        return len(labels) >= TRIES_AT_ONCE and (None in labels or len(set(labels)) > 1)


def describe_unusable(kind: str, failures: Sequence[str], *, n_usable: int) -> str | None:
    """One line on all failed calls of a kind: how many there were, whether any other call succeeded, and what the first
    error was. None without failures.

    Args:
        failures: what was wrong, one entry per failed call.
    """
    return _describe(kind, Unusable(n=len(failures), first=failures[0]), n_usable) if failures else None


def describe_batches(batches: Sequence[BatchReport]) -> list[str]:
    """One line for each kind of call that failed while the batches were made."""
    return [_describe(kind, failed, n_usable) for kind, failed, n_usable in _by_kind(batches)]


def are_hopeless(batches: Sequence[BatchReport]) -> bool:
    """Whether rows or ratings never came in a usable form, so that more rounds would cost as much and yield as little."""
    return any(_is_hopeless(failed, n_usable) for kind, failed, n_usable in _by_kind(batches) if kind != SOLVER)


def _describe(kind: str, failed: Unusable, n_usable: int) -> str:
    if _is_hopeless(failed, n_usable):
        return (
            f"the {kind} gave no usable answer in any of {failed.n} calls: does this model answer in the form that is"
            f" asked for? The first: {failed.first}"
        )
    return f"{count(failed.n, 'answer')} of the {kind} could not be used, the first: {failed.first}"


def _is_hopeless(failed: Unusable, n_usable: int) -> bool:
    return failed.n >= TRIES and not n_usable


def _by_kind(batches: Sequence[BatchReport]) -> list[tuple[str, Unusable, int]]:
    """Each kind of call that failed, with its failures and the number of usable results (more than 0 if other calls succeeded)."""
    n_usable = {
        GENERATOR: sum(b.n_written for b in batches),
        JUDGE: sum(b.score is not None or b.n_accepted > 0 for b in batches),
        SOLVER: sum(b.n_solved for b in batches),
    }
    failed = {kind: [b.unusable[kind] for b in batches if kind in b.unusable] for kind in n_usable}
    return [
        (kind, Unusable(n=sum(u.n for u in failed[kind]), first=failed[kind][0].first), n)
        for kind, n in n_usable.items()
        if failed[kind]
    ]
