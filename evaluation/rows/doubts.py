"""Notes on rows that can be read, but may not be what was written."""

from collections.abc import Sequence

from pada_agent.core.records import Example
from pada_agent.evaluation.rows.narrow_floats import find_meant
from pada_agent.evaluation.task import Task

DOUBTFUL = ("None", "none", "NONE", "NA", "N/A", "n/a", "null", "NULL", "Null", "-", "--", "?")
"""Words that may be answers, or what is left of an empty cell."""


def list_doubts(task: Task, examples: Sequence[Example]) -> list[str]:
    """What a person should look at in a file, one line each."""
    if task.config.labels:
        return task.list_doubts(examples)
    answers = [example.answer.strip() for example in examples if not example.options]
    counts = {word: n for word in DOUBTFUL if (n := answers.count(word))}
    notes = [f"{n} answer(s) are {word!r}: drop the rows if that is an empty cell" for word, n in counts.items()]
    n_decimals = sum(
        answer.removeprefix("-").removesuffix(".0").isdigit() and answer.endswith(".0") for answer in answers
    )
    if answers and n_decimals == len(answers):
        notes.append("all answers end in .0: whole numbers that became decimals on the way?")
    noisy = {answer: meant for answer in answers if (meant := find_meant(answer)) is not None}
    if noisy:
        answer, meant = next(iter(noisy.items()))
        n = sum(answer in noisy for answer in answers)
        notes.append(f"{n} answer(s) have digits left over from computing, such as {answer}: round them ({meant}?)")
    return [*notes, *task.list_doubts(examples)]
