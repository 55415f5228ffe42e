"""What a report says about rows that were chosen from more than were needed: for which failures, and what became of these."""

from collections.abc import Mapping, Sequence

from pada_agent.core.records import ScoredRow
from pada_agent.core.selection import Selected
from pada_agent.core.wording import count

SHOWN_CHARACTERS = 60


def explain_choice(selected: Selected, after: Mapping[str, ScoredRow]) -> str:
    """Why a row was chosen or not, in words.

    Args:
        after: the answers of the model trained in this iteration, by row. Empty if there is none.
    """
    if not selected.is_chosen:
        return "passed the checks, but other rows were chosen"
    if not selected.failures:
        return "" if selected.loss is None else f"chosen: the student's loss on it was {selected.loss:.2f}"
    return f"chosen for {'; '.join(_name_failure(i, after.get(i)) for i, _ in selected.failures)}"


def describe_choice(selected: Sequence[Selected], after: Mapping[str, ScoredRow]) -> str:
    """How many rows were chosen, and how many of the failures they were chosen for were repaired, in one sentence. Empty without a choice."""
    if not selected:
        return ""
    n_chosen = sum(row.is_chosen for row in selected)
    sentence = f"{n_chosen} of {len(selected)} rows were chosen for training"
    failures = {failure for row in selected if row.is_chosen for failure, _ in row.failures}
    if not failures or not after:
        return f"{sentence}."
    n_repaired = sum(is_right(after.get(failure)) for failure in failures)
    return f"{sentence}, mostly for {count(len(failures), 'failure')}, of which the new model answers {n_repaired} correctly."


def _name_failure(failure: str, answer: ScoredRow | None) -> str:
    if answer is None:
        return failure
    text = " ".join(answer.example.prompt.split())
    shown = text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"
    return f"'{shown}' ({'repaired' if is_right(answer) else 'not repaired'})"


def is_right(answer: ScoredRow | None) -> bool:
    """Whether there is an answer, and it is correct."""
    return answer is not None and answer.verdict.value == "correct"
