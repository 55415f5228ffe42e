"""Rows that appear twice: within a file, with another answer, or in two files. They are named by file and line, never by id."""

from collections.abc import Callable, Sequence

from pada_agent.core.records import Example
from pada_agent.evaluation.row_texts import RowTexts
from pada_agent.evaluation.rows.findings import Pair
from pada_agent.evaluation.rows.reading import ReadFile
from pada_agent.evaluation.text_units import Units, units_of


def drop_repeated(file: ReadFile) -> tuple[ReadFile, list[Pair]]:
    """The file without rows that repeat an earlier one in all that is asked and answered; their ids do not count.

    Where one row became several, as in conversations of which every answer is learned, greetings repeat rightly and stay.
    """
    if file.expanded:
        return file, []
    first: dict[str, str] = {}
    kept: list[tuple[Example, str]] = []
    repeated = []
    for example, where in zip(file.examples, file.wheres, strict=True):
        content = example.model_dump_json(exclude={"id", "provenance"})
        if content in first:
            repeated.append(Pair(where=where, other=first[content]))
        else:
            first[content] = where
            kept.append((example, where))
    return file._replace(examples=[e for e, _ in kept], wheres=[w for _, w in kept]), repeated


def find_contradictions(file: ReadFile, gold: Callable[[Example], str]) -> list[Pair]:
    """Rows that ask what an earlier row asks and have another right answer, each with the first such row."""
    first: dict[str, tuple[str, str]] = {}
    found = []
    for example, where in zip(file.examples, file.wheres, strict=True):
        answer, before = first.setdefault(_asked(example), (gold(example), where))
        if gold(example) != answer:
            found.append(Pair(where=where, other=before))
    return found


def count_questions(file: ReadFile) -> int:
    """How many different things the rows ask."""
    return len({_asked(example) for example in file.examples})


def find_shared(file: ReadFile, others: Sequence[ReadFile]) -> list[Pair]:
    """Rows of `file` that are also in `others`, as they are or but for case and punctuation.

    A question that is asked of several passages, or with several options, is the same only with them.
    """
    known = [place for other in others for place in zip(other.examples, other.wheres, strict=True)]
    texts = RowTexts([*file.examples, *(example for example, _ in known)])
    first: dict[Units | str, str] = {}
    for example, where in known:
        first.setdefault(_key(texts.of(example)), where)
    keyed = [(_key(texts.of(example)), where) for example, where in zip(file.examples, file.wheres, strict=True)]
    return [Pair(where=where, other=first[key]) for key, where in keyed if key in first]


def drop_places(file: ReadFile, places: Sequence[str]) -> ReadFile:
    """The file without the rows at these places."""
    gone = set(places)
    kept = [(e, w) for e, w in zip(file.examples, file.wheres, strict=True) if w not in gone]
    return file._replace(examples=[e for e, _ in kept], wheres=[w for _, w in kept])


def _asked(example: Example) -> str:
    return example.model_dump_json(include={"system", "history", "prompt", "options"})


def _key(text: str) -> Units | str:
    """Its words; of a text without words, itself."""
    return units_of(text) or text
