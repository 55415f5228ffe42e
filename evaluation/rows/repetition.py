"""Finds rows that occur twice: within a file, with a different answer, or in two files. Rows are named by file and line, not by id."""

from collections.abc import Callable, Sequence

from pada_agent.core.records import Example
from pada_agent.evaluation.row_texts import RowTexts
from pada_agent.evaluation.rows.findings import Pair
from pada_agent.evaluation.rows.reading import ReadFile
from pada_agent.evaluation.text_units import Units, units_of


def drop_repeated(file: ReadFile) -> tuple[ReadFile, list[Pair]]:
    """The file without rows that repeat an earlier row's question and answer, whatever their ids.

    If rows became several examples, because every answer of a conversation is learned, repeated greetings are kept.
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
    """Rows that ask the same as an earlier row but have a different right answer, each paired with the first such row."""
    first: dict[str, tuple[str, str]] = {}
    found = []
    for example, where in zip(file.examples, file.wheres, strict=True):
        answer, before = first.setdefault(_asked(example), (gold(example), where))
        if gold(example) != answer:
            found.append(Pair(where=where, other=before))
    return found


def count_questions(file: ReadFile) -> int:
    """Number of different questions in the file."""
    return len({_asked(example) for example in file.examples})


def find_shared(file: ReadFile, others: Sequence[ReadFile]) -> list[Pair]:
    """Rows of `file` that also occur in `others`, ignoring case and punctuation.

    Questions asked about different passages, or with different options, are not the same.
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
    """The text's words or, if it has none, the text itself."""
    return units_of(text) or text
