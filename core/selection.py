"""Which of the written rows are trained on, and what that is based on."""

from typing import Self

from pada_agent.core.records import Example, Record


class RowInfluence(Record):
    """What a row would teach the student, compared with what the student got wrong."""

    example_id: str
    loss: float | None
    """Mean negative log-likelihood of the answer's tokens, in nats. None if it is not finite."""
    cosines: tuple[float, ...] = ()
    """For each failure, in the order of the job's targets: cosine of the angle between the two gradients, from -1 to 1. Above 0, training on the
    row lowers the failure's loss. 0 if either gradient is 0 or not finite."""


class Selected(Record):
    """Whether a written row was chosen for training, and for which failures."""

    example_id: str
    is_chosen: bool
    loss: float | None = None
    """The student's loss on it, in nats. None if rows were drawn at random, or if it is not finite."""
    failures: tuple[tuple[str, float], ...] = ()
    """The validation failures that it was chosen for, by id, each with its part of the gain, most first. Empty for other ways to choose."""


class SelectedRow(Selected):
    """A line of `iterations/<i>/selection.jsonl`."""

    prompt: str
    answer: str

    @classmethod
    def of(cls, selected: Selected, row: Example) -> Self:
        """The choice with the row's text."""
        return cls(**selected.model_dump(), prompt=row.prompt, answer=row.answer)
