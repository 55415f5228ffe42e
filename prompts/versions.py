"""Which of the lists in an answer is the answer: models write drafts, examples and corrections beside it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from pydantic import BaseModel

from pada_agent.prompts.item_validation import CheckedItem

ItemT = TypeVar("ItemT", bound=BaseModel)


@dataclass(frozen=True)
class Version(Generic[ItemT]):
    """Items that belong together."""

    items: tuple[CheckedItem[ItemT], ...]
    is_list: bool
    """Written as arrays, not as bare objects."""
    complete: bool

    @property
    def n_good(self) -> int:
        return sum(checked.item is not None for checked in self.items)


def choose_version(found: Sequence[Version[ItemT]], expect: int | None) -> Version[ItemT] | None:
    """The last version of what was asked for, in an answer that may hold several; None where nothing was found.

    Lists without a good item are examples, footnotes or the form itself. Lists that complete each other, by their numbers
    or by their count, are one version. One with less than half of `expect` is a draft of a part or a remark, unless the
    answer was cut off within it; bare objects have to be all of `expect`. Where no version is enough, the fullest counts,
    and of several the last.
    """
    fitting = [version for version in found if version.n_good]
    if not fitting:
        return found[-1] if found else None
    versions = [fitting[-1]] if expect == 1 else _join_parts(fitting, expect)
    enough = [v for v in versions if _is_enough(v, expect, is_last=v is versions[-1])]
    return enough[-1] if enough else max(reversed(versions), key=lambda v: (v.is_list, v.n_good))


def _is_enough(version: Version[ItemT], expect: int | None, *, is_last: bool) -> bool:
    if expect is None or (is_last and not version.complete):
        return True
    return version.n_good >= (expect / 2 if version.is_list else expect)


def _join_parts(fitting: Sequence[Version[ItemT]], expect: int | None) -> list[Version[ItemT]]:
    versions = [fitting[0]]
    for part in fitting[1:]:
        if _completes(versions[-1], part, expect):
            before = versions.pop()
            part = Version((*before.items, *part.items), before.is_list, part.complete)
        versions.append(part)
    return versions


def _completes(version: Version[ItemT], part: Version[ItemT], expect: int | None) -> bool:
    """Whether `part` goes on with `version`, and is no other version of it."""
    if version.is_list != part.is_list or (expect is not None and version.n_good + part.n_good > expect):
        return False
    seen = {checked.number for checked in version.items} - {None}
    return not any(checked.number in seen for checked in part.items)
