"""Checks that every task makes on a draft, and drawing a label from a closed set."""

from collections.abc import Iterable, Mapping, Sequence
from random import Random

from pada_agent.core.records import Confusion, Example
from pada_agent.evaluation.rows.cells import shows_nothing
from pada_agent.evaluation.task import TURNS, DraftProblem

CLOSED_VARIETY = "Write each as the person who asks, another one each time, about one concrete matter of their own."
"""For rows of a closed label set, which represent what people write in about."""


def find_empty_field(draft: Mapping[str, str], names: Iterable[str]) -> DraftProblem | None:
    """The problem with the first of these fields that is missing or blank, or None."""
    for name in names:
        if shows_nothing(draft.get(name, "")):
            return DraftProblem(reason=f"field '{name}' is missing or empty")
    return None


def keep_turns(source: Example, made: Example) -> Example:
    """Give a written row its source's place in the conversation: the same earlier turns."""
    if source.system is None and not source.history:
        return made
    return made.model_copy(update={"system": source.system, "history": source.history})


def tell_turns(example: Example) -> dict[str, str]:
    """The system turn and earlier turns, for whoever writes or judges what comes next. Empty if there are none."""
    if example.system is None and not example.history:
        return {}
    return {TURNS: example.conversation.removesuffix(f"\nUser: {example.prompt}")}


def whole_question(example: Example) -> str:
    """What a solver is asked: the question alone, or the whole conversation."""
    return example.conversation if tell_turns(example) else str(example.reference["question"])


def assign_label(
    definitions: Mapping[str, str], source_label: str, confusions: Sequence[Confusion], rng: Random
) -> dict[str, str]:
    """Draw a label by how often the student missed it. Also returns its definition, and a label that it is mistaken for
    (drawn by count) with its definition.
    """
    known = [c for c in confusions if c.gold in definitions and c.predicted in definitions and c.count > 0]
    label = _draw([(c.gold, c.count) for c in known], rng) or source_label
    mistaken_for = _draw([(c.predicted, c.count) for c in known if c.gold == label], rng)
    facts = {"label": label, "definition": definitions[label]}
    if not mistaken_for:
        return facts
    return {**facts, "easily_mistaken_for": mistaken_for, "definition_of_that": definitions[mistaken_for]}


def _draw(weighted: Sequence[tuple[str, int]], rng: Random) -> str | None:
    if not weighted:
        return None
    return rng.choices([name for name, _ in weighted], weights=[count for _, count in weighted])[0]
