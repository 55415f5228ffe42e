"""Words of a pattern's failures that no training row has: what the student has never seen said.

A writer that is shown a label and a few rows of it writes what these already say. One word of a real question that the student
failed, without the question, takes it elsewhere.
"""

from collections.abc import Mapping, Sequence

from pada_agent.core.records import ErrorPattern, Example, ScoredRow, Strategy
from pada_agent.evaluation.row_set import RowSet
from pada_agent.evaluation.task import Task
from pada_agent.evaluation.text_units import units_of

MIN_LETTERS = 3


def add_unseen_words(
    strategies: Sequence[Strategy],
    patterns: Sequence[ErrorPattern],
    failures: Mapping[str, ScoredRow],
    training: Sequence[Example],
    *,
    task: Task,
) -> list[Strategy]:
    """The strategies with the words of their pattern's failures that no training question has, by the right label.

    Only whole words of letters, each once, in alphabetical order: no run of words that a held-out row could be read from.
    Strategies for other than closed labels stay as they are.
    """
    members = {pattern.id: pattern.example_ids for pattern in patterns}
    rows = RowSet.of(training)
    known = rows.remember(
        "words of questions", lambda: frozenset(word for row in rows for word in _words_of(row, task))
    )

    def find(strategy: Strategy) -> dict[str, tuple[str, ...]]:
        found: dict[str, set[str]] = {}
        for example in (failures[i].example for i in members[strategy.pattern_id] if i in failures):
            if label := task.closed_label(example):
                found.setdefault(label, set()).update(_words_of(example, task) - known)
        return {label: tuple(sorted(words)) for label, words in sorted(found.items()) if words}

    return [s.model_copy(update={"unseen_words": find(s)}) for s in strategies]


def _words_of(example: Example, task: Task) -> frozenset[str]:
    question = task.show(example).get(task.question_field, "")
    return frozenset(word for word in units_of(question) if word.isalpha() and len(word) >= MIN_LETTERS)
