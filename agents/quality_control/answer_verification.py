"""Label verification by independent solving: the judge answers rows itself, and its majority has to give their label."""

from collections.abc import Mapping, Sequence
from random import Random

from pydantic import BaseModel, ConfigDict, Field

from pada_agent.agents.concurrency import map_concurrently
from pada_agent.agents.guards.draft_checks import reject
from pada_agent.core.config import VerificationConfig
from pada_agent.core.errors import StructuredOutputError
from pada_agent.core.records import Batch, Example, Record, Rejection
from pada_agent.evaluation.task import OpenQuestion, Task
from pada_agent.evaluation.verifiers.option_label import label_at
from pada_agent.prompts.numbering import align_items
from pada_agent.prompts.prompted_model import PromptedModel


class SolutionItem(BaseModel):
    """What the solver returns for one sample: the working before the answer."""

    model_config = ConfigDict(extra="ignore", coerce_numbers_to_str=True)

    sample: int = Field(description="number of the sample")
    working: str = Field(description="how to get to the answer, at most 40 words")
    answer: str = Field(
        min_length=1, description="the answer alone: the letter of an option, or a number or a few words"
    )


class Solved(Record):
    """What solving made of the rows that the rating had passed."""

    kept: tuple[Example, ...]
    """Confirmed, not drawn, or without a usable vote: what could not be solved is not wrong."""
    rejected: tuple[Rejection, ...] = ()
    n_solved: int = 0
    """Rows with at least one usable vote."""


def verify_answers(
    rows: Sequence[Example],
    *,
    batch: Batch,
    attempt: int,
    task: Task,
    judge: PromptedModel,
    settings: VerificationConfig,
    rows_per_call: int | None,
    seed: int,
) -> Solved:
    """Solve a share of the rows `settings.votes` times each; a row whose label no majority gives is rejected.

    Rows whose label is checked by other means (code, spans) or cannot be (open answers) are passed on.
    """
    drawn = [row for row in rows if settings.votes and Random(f"solve/{seed}/{row.id}").random() < settings.share]
    size = rows_per_call or max(1, len(drawn))
    chunks = [(drawn[i : i + size], vote) for vote in range(settings.votes) for i in range(0, len(drawn), size)]

    def solve(chunk: tuple[Sequence[Example], int]) -> dict[str, bool]:
        chosen, vote = chunk
        return _solve(chosen, vote, batch=batch, attempt=attempt, task=task, judge=judge, settings=settings)

    votes: dict[str, list[bool]] = {}
    for answers in map_concurrently(solve, chunks):
        for row_id, agrees in answers.items():
            votes.setdefault(row_id, []).append(agrees)
    refused = {row_id for row_id, found in votes.items() if 2 * sum(found) <= len(found)}
    return Solved(
        kept=tuple(row for row in rows if row.id not in refused),
        rejected=tuple(_refuse(row, votes[row.id], task) for row in rows if row.id in refused),
        n_solved=len(votes),
    )


def _solve(
    rows: Sequence[Example],
    vote: int,
    *,
    batch: Batch,
    attempt: int,
    task: Task,
    judge: PromptedModel,
    settings: VerificationConfig,
) -> dict[str, bool]:
    """Whether one vote agrees with each row's label; without the rows that it gave no answer for."""
    posed = {row.id: question for row in rows if (question := task.pose(row, Random(f"{row.id}/{vote}")))}
    asked = [row for row in rows if row.id in posed]
    if not asked:
        return {}
    try:
        reply = judge.ask(
            "answer_solving",
            {
                "task": task.config.description,
                "questions": [_describe(n, posed[row.id]) for n, row in enumerate(asked, start=1)],
            },
            SolutionItem,
            expect=len(asked),
            temperature=settings.temperature,
            draw=f"{batch.id}/{attempt}/{vote}",
            tags={
                "agent": "answer_verification",
                "iteration": batch.iteration,
                "batch": batch.id,
                "attempt": attempt,
            },
        )
    except StructuredOutputError:
        return {}
    aligned = align_items(reply.items, range(1, len(asked) + 1), lambda item: item.sample)
    answers = {number: item.answer for number, item in aligned.items()}
    return {row.id: task.agrees(row, answers[n], posed[row.id]) for n, row in enumerate(asked, start=1) if n in answers}


def _describe(number: int, posed: OpenQuestion) -> Mapping[str, object]:
    options = [
        {"label": label_at(i), "text": text, "note": posed.notes.get(text, "")} for i, text in enumerate(posed.options)
    ]
    return {"number": number, "question": posed.question, "options": options}


def _refuse(row: Example, votes: Sequence[bool], task: Task) -> Rejection:
    reason = f"solved without its label, {sum(votes)} of {len(votes)} answers were '{task.gold(row)}'"
    return reject(row, "verification", reason)
