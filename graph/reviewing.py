"""What a person may answer where the run waits. Each question carries the JSON schema of its answers."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

from pydantic import ConfigDict, Field, ValidationError

from pada_agent.core.records import Record, Strategy

APPROVE = "approve"
"""The answer that changes nothing, to every question."""


class ReviewAnswer(Record):
    """What is common to all answers."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    comment: str = ""
    """Why; kept with the decision."""


class StrategiesAnswer(ReviewAnswer):
    """Which strategies to go on with."""

    strategies: tuple[Strategy, ...] | None = None
    """All strategies to go on with: edited, added, without those to drop, with other weights. Null: as drafted."""


class DataAnswer(ReviewAnswer):
    """Which rows to train on."""

    drop: tuple[str, ...] = ()
    """Ids of accepted rows that are not trained on."""
    accept: tuple[str, ...] = ()
    """Ids of rows that the judge refused and that are trained on all the same."""


class CostAnswer(ReviewAnswer):
    """Whether the fine-tuning is worth its time."""

    stop: bool = False
    """End the run here, with the best model so far."""


class Review(Record):
    """A person's decision, as `reviews.jsonl` keeps it."""

    review: str
    """`strategies`, `data` or `cost`."""
    iteration: int
    time: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    answer: dict[str, Any]
    """What was answered, without defaults; empty for a plain approval."""


ANSWERS: Mapping[str, type[ReviewAnswer]] = {
    "strategies": StrategiesAnswer,
    "data": DataAnswer,
    "cost": CostAnswer,
}
AnswerT = TypeVar("AnswerT", bound=ReviewAnswer)


def ask_person(
    review: str, kind: type[AnswerT], payload: Mapping[str, Any], find_problem: Callable[[AnswerT], str | None]
) -> AnswerT:
    """Interrupt the run until there is an answer that can be used; one that cannot is asked for again with the reason.

    Args:
        review: key of `ANSWERS`.
        payload: for the person to read.
        find_problem: why an answer of the right form cannot be carried out, or None.
    """
    from langgraph.types import interrupt

    question = {"review": review, **payload, "answer_schema": answer_schema(kind)}
    problem: str | None = None
    while True:
        reply = interrupt({**question, "problem": problem} if problem else question)
        try:
            answer = parse_answer(kind, reply)
        except ValueError as exc:
            problem = str(exc)
            continue
        if (problem := find_problem(answer)) is None:
            return answer


def parse_answer(kind: type[AnswerT], reply: Any) -> AnswerT:
    """The answer in a reply: `"approve"`, or a mapping.

    Raises:
        ValueError: it is neither, or the mapping does not follow the schema.
    """
    if reply == APPROVE:
        return kind()
    if not isinstance(reply, dict) or not reply:
        raise ValueError(f'An answer is "{APPROVE}" or a mapping with {_keys(kind)}, not {reply!r}.')
    try:
        return kind.model_validate(reply)
    except ValidationError as exc:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in exc.errors())
        raise ValueError(f'An answer is "{APPROVE}" or a mapping with {_keys(kind)}. {problems}') from exc


def answer_schema(kind: type[ReviewAnswer]) -> dict[str, Any]:
    """JSON schema of the answers."""
    schema = kind.model_json_schema()
    definitions = schema.pop("$defs", {})
    return {"anyOf": [{"const": APPROVE}, schema], **({"$defs": definitions} if definitions else {})}


def note_review(review: str, iteration: int, answer: ReviewAnswer) -> dict[str, Review]:
    """The decision, for the state's `reviews`."""
    values = answer.model_dump(mode="json", exclude_defaults=True)
    return {f"{review}/{iteration}": Review(review=review, iteration=iteration, answer=values)}


def _keys(kind: type[ReviewAnswer]) -> str:
    return ", ".join(kind.model_fields)
