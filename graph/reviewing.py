"""The answers that a person may give where the run waits. Each question comes with the JSON schema of its answers."""

import json
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from pydantic import ConfigDict, Field, ValidationError

from pada_agent.core.records import Record, Strategy

APPROVE = "approve"
"""The answer to any question that changes nothing."""


class ReviewAnswer(Record):
    """What all answers have in common."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    comment: str = ""
    """Reason for the decision. It is kept with it."""


class StrategiesAnswer(ReviewAnswer):
    """Which strategies to continue with."""

    strategies: tuple[Strategy, ...] | None = None
    """All strategies to continue with: edit, add or reweight them, and leave out those to drop. Null keeps them as drafted."""


class DataAnswer(ReviewAnswer):
    """Which rows to train on."""

    drop: tuple[str, ...] = ()
    """Ids of accepted rows that should not be trained on."""
    accept: tuple[str, ...] = ()
    """Ids of rejected rows that should be trained on after all."""


class CostAnswer(ReviewAnswer):
    """Whether the fine-tuning is worth its time."""

    stop: bool = False
    """End the run here, with the best model so far."""


class Review(Record):
    """A person's decision, as it is kept in `reviews.jsonl`."""

    review: str
    """`strategies`, `data` or `cost`."""
    iteration: int
    time: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    """When the decision was made: UTC, ISO 8601."""
    answer: dict[str, Any]
    """The answer without default values. Empty for a plain approval."""


ANSWERS: Mapping[str, type[ReviewAnswer]] = {
    "strategies": StrategiesAnswer,
    "data": DataAnswer,
    "cost": CostAnswer,
}
"""The form of the answer, by kind of review."""
AnswerT = TypeVar("AnswerT", bound=ReviewAnswer)


def ask_person(
    review: str, kind: type[AnswerT], payload: Mapping[str, Any], find_problem: Callable[[AnswerT], str | None]
) -> AnswerT:
    """Interrupt the run until there is a usable answer. After an unusable one, ask again and give the reason.

    Args:
        review: key in `ANSWERS`.
        payload: what the person gets to read.
        find_problem: returns why a well-formed answer cannot be carried out, or None.
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
    """The answer in a reply, which is `"approve"` or a mapping. Forms send what a person types as a text: that may be JSON.

    Raises:
        ValueError: it is neither of the two, or the mapping does not match the schema.
    """
    if isinstance(reply, str):
        reply = _read_typed(reply)
    if reply == APPROVE:
        return kind()
    if not isinstance(reply, dict) or not reply:
        raise ValueError(f'An answer is "{APPROVE}" or a mapping with {_keys(kind)}, not {reply!r}.')
    try:
        return kind.model_validate(reply)
    except ValidationError as exc:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in exc.errors())
        raise ValueError(f'An answer is "{APPROVE}" or a mapping with {_keys(kind)}. {problems}') from exc


def _read_typed(text: str) -> Any:
    """What a person has typed, which may be JSON. The text itself if it is none."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = text
    return value.strip().lower() if isinstance(value, str) else value


def answer_schema(kind: type[ReviewAnswer]) -> dict[str, Any]:
    """JSON schema of the answers."""
    schema = kind.model_json_schema()
    definitions = schema.pop("$defs", {})
    return {"anyOf": [{"const": APPROVE}, schema], **({"$defs": definitions} if definitions else {})}


def note_review(review: str, iteration: int, answer: ReviewAnswer) -> dict[str, Review]:
    """The decision, keyed for the state's `reviews`."""
    values = answer.model_dump(mode="json", exclude_defaults=True)
    return {f"{review}/{iteration}": Review(review=review, iteration=iteration, answer=values)}


def find_repeated_ids(strategies: Sequence[Strategy]) -> str | None:
    """A message if several strategies share an id, or None."""
    repeated = [i for i, n in Counter(s.id for s in strategies).items() if n > 1]
    return f"Each strategy needs its own id; these appear twice: {', '.join(repeated)}." if repeated else None


def find_unknown_rows(strategies: Sequence[Strategy], known: Collection[str]) -> str | None:
    """A message if a strategy names training rows that do not exist, or None. Without any of its rows it would be applied to all.

    Args:
        known: ids of the training rows.
    """
    unknown = dict.fromkeys(i for s in strategies for i in s.source_ids if i not in known)
    return f"No such training rows in source_ids: {', '.join(unknown)}." if unknown else None


def _keys(kind: type[ReviewAnswer]) -> str:
    return ", ".join(kind.model_fields)
