"""Words from a pattern's failures that no training row contains.

A writer that sees a label and a few of its rows tends to repeat what those rows say. A single word from a real question
that the student failed, without the question, leads it somewhere new.
"""

from collections.abc import Mapping, Sequence

from pada_agent.core.records import ErrorPattern, Example, ScoredRow, Strategy
from pada_agent.evaluation.row_set import RowSet
from pada_agent.evaluation.task import Task
from pada_agent.evaluation.text_units import units_of

MIN_LETTERS = 3
"""Shorter words are not used."""


def add_unseen_words(
    strategies: Sequence[Strategy],
    patterns: Sequence[ErrorPattern],
    failures: Mapping[str, ScoredRow],
    training: Sequence[Example],
    *,
    task: Task,
) -> list[Strategy]:
    """Set each strategy's `unseen_words`: by label, the words of its pattern's failures that no training question contains.

    Only whole words of letters are used, each once and in alphabetical order, so that no held-out text can be read from
    them. Strategies for tasks without a closed label set are left unchanged.
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
