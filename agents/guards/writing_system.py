"""Whether rows are written in the writing systems of the real ones. Models of several languages slip into another one, for a word or for a whole row."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from pada_agent.agents.guards.guard import Guard, Refusal
from pada_agent.core.records import Example, Record
from pada_agent.evaluation.row_set import RowSet
from pada_agent.evaluation.task import Task

MIN_ROWS = 20
"""With fewer real rows than this, they do not tell what others may look like."""
_RANGES = {
    "Chinese or Japanese": "\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff",
    "Korean": "\u1100-\u11ff\u3131-\u318e\uac00-\ud7af",
    "Cyrillic": "\u0400-\u052f",
    "Arabic": "\u0620-\u06ff\u0750-\u077f",
    "Hebrew": "\u05d0-\u05ea",
    "Thai": "\u0e01-\u0e5b",
    "Devanagari": "\u0900-\u097f",
    "Bengali": "\u0980-\u09ff",
    "Tamil": "\u0b80-\u0bff",
}
"""Letters. Latin and Greek ones are not among them, because formulas and names have them in texts of every language."""
_LETTERS = {system: re.compile(f"[{letters}]") for system, letters in _RANGES.items()}
_ANY = re.compile(f"[{''.join(_RANGES.values())}]")
_WORD = re.compile(r"[^\W\d_]")


class SystemsOfRows(Record):
    """The writing systems of real rows, of those that are told apart."""

    seen: frozenset[str]
    """Those of any row."""
    shared: frozenset[str]
    """Those of every row, in the fields that are also written."""


class WritingSystem(Guard):
    """Rejects rows with letters of a writing system that no real row has, and rows without the one that all real rows have."""

    name = "writing_system"
    stage = "format"
    may_be_overruled = True

    def check(self, candidates: Sequence[Example]) -> Mapping[str, Refusal]:
        task, training = self.context.task, RowSet.of(self.context.training)
        if task.runs_code or task.reads_database:  # texts in programs and queries may be in any
            return {}
        real = training.remember("writing systems", lambda: find_systems(training, task))
        if real is None:
            return {}
        problems = {row.id: _find_problem(_written_text(row, task), real) for row in candidates}
        return {row_id: Refusal(reason=problem) for row_id, problem in problems.items() if problem}


def find_systems(rows: Sequence[Example], task: Task) -> SystemsOfRows | None:
    """The writing systems of these rows. None if there are too few to tell."""
    if len(rows) < MIN_ROWS:
        return None
    seen, counts = set[str](), Counter[str]()
    for row in rows:
        seen |= _list_systems(_join(task.show(row).values()))
        counts.update(_list_systems(_written_text(row, task)))
    return SystemsOfRows(seen=frozenset(seen), shared=frozenset(name for name, n in counts.items() if n == len(rows)))


def _find_problem(text: str, real: SystemsOfRows) -> str:
    systems = _list_systems(text)
    for name in _RANGES:
        if name in systems - real.seen:
            at = _LETTERS[name].search(text)
            assert at is not None
            shown = " ".join(text[max(0, at.start() - 10) : at.end() + 10].split())
            return f"has {name} letters ('{shown}'), which no real row has: write in the language of the real ones"
    if missing := sorted(real.shared - systems):
        return (
            f"has no {missing[0]} letters, which all real rows have: write in their language"
            if _WORD.search(text)
            else ""
        )
    return ""


def _written_text(row: Example, task: Task) -> str:
    """The fields that a writer writes, without those that are given, such as a passage or the definition of a label."""
    shown = task.show(row)
    return _join(shown[name] for name in task.draft_fields_for([row]) if name in shown)


def _join(texts: Iterable[str]) -> str:
    return "\n".join(texts)


def _list_systems(text: str) -> set[str]:
    if text.isascii() or not _ANY.search(text):
        return set()
    return {name for name, letters in _LETTERS.items() if letters.search(text)}
