"""What a person may have meant by a name that there is not."""

from collections.abc import Iterable
from difflib import get_close_matches

_LONGEST = 100
LIKENESS = 0.7
"""difflib's ratio, from which a name is taken for a misspelt one. Below it, other words are suggested."""


def suggest(name: object, known: Iterable[object]) -> str:
    """A question to put behind an error, such as ` Did you mean 'x'?`; empty where no known name is like it."""
    if not isinstance(name, str) or len(name) > _LONGEST:
        return ""
    names: dict[str, str] = {}
    for one in known:
        names.setdefault(_fold(str(one)), str(one))
    wanted = _fold(name)
    near = get_close_matches(wanted, names, n=1, cutoff=LIKENESS)
    beginning = [folded for folded in names if _begins(folded, wanted) or _begins(wanted, folded)]
    found = [*near, *beginning[: len(beginning) == 1]]
    return f" Did you mean {names[found[0]]!r}?" if found else ""


def _begins(whole: str, part: str) -> bool:
    return len(part) >= 3 and whole.startswith(part)


def _fold(name: str) -> str:
    return name.strip().casefold().replace("-", "_").replace(" ", "_")
