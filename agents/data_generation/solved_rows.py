"""Rows whose answers the writer works out itself: it writes questions alone, and then answers each of them several times.

A small writer that has to write a question together with its answer copies a real row or invents the answer. Asked to go on with
real questions, it asks for new things in people's words, and beside the real rows most like such a question it answers most of
them. A vote finds those that it does not (self-consistency, Wang et al. 2023, arXiv 2203.11171; docs/adr/0021).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from random import Random
from typing import NamedTuple

from pada_agent.agents.data_generation.generate import Assignment, DraftItem, draft_item, trace
from pada_agent.core.concurrency import map_concurrently
from pada_agent.core.generation_config import GenerationConfig
from pada_agent.core.ports import Embedder
from pada_agent.core.records import Batch, Draft, Example, Prediction
from pada_agent.evaluation.row_set import RowSet
from pada_agent.evaluation.task import TURNS, DraftProblem, Task
from pada_agent.prompts.numbering import Numbered, number_from_one
from pada_agent.prompts.prompted_model import NoReply, PromptedModel, ShownRows, try_ask
from pada_agent.prompts.structured_call import StructuredReply

QUESTIONS, ANSWER = "more_questions", "answer_like_examples"
"""The prompts: for questions that go on with real ones, and for the answer to one of them."""
FIRST_TEMPERATURE, OTHER_TEMPERATURE = 0.0, 0.7
"""Of a question's first answer, which is kept if the others confirm it, and of those others."""
TAGS = {"agent": "data_generation"}


def choose_solved(
    batches: Sequence[Batch], training: Sequence[Example], *, task: Task, settings: GenerationConfig
) -> list[Batch]:
    """Mark `solved_share` of the batches, evenly spread. None if code cannot compare the task's answers, or rows begin with other turns."""
    if not (settings.solved_share and task.compares_answers):
        return list(batches)
    sources = RowSet.of(training).by_id
    ends = [int(settings.solved_share * n + 0.5) for n in range(len(batches) + 1)]
    return [
        batch.model_copy(
            update={"is_solved": end > start and not any(TURNS in task.show(sources[i]) for i in batch.source_ids)}
        )
        for batch, (start, end) in zip(batches, pairwise(ends), strict=True)
    ]


def write_solved(
    batch: Batch,
    assignments: Sequence[Assignment],
    *,
    attempt: int,
    task: Task,
    generator: PromptedModel,
    settings: GenerationConfig,
    seed: int,
    training: Sequence[Example],
    embedder: Embedder,
) -> list[Draft] | NoReply:
    """Have questions written, and each answered up to `solver_votes` times, beside the training rows nearest to it.

    A call writes questions about one thing: rows on different databases are written apart, and answered beside rows on their
    own. A question whose first answer is not confirmed by more than half of the votes gives a draft with a `problem`.
    """
    training, draw = RowSet.of(training), f"{seed}/{batch.id}/{attempt}"
    places = training.remember("by what is told", lambda: _group_by_about(training, task))
    groups: dict[str, list[Assignment]] = {}
    for assigned in assignments:
        groups.setdefault(task.about([assigned.source]), []).append(assigned)
    questions: dict[int, _Question] = {}
    failures: list[NoReply] = []
    for about, group in groups.items():
        among = places.get(about, [])
        alike = [training[place] for place in among] if len(places) > 1 else training
        reply = _ask_for_questions(batch, group, alike, about, draw, task=task, generator=generator, settings=settings)
        if isinstance(reply, NoReply):
            failures.append(reply)
            continue
        texts = {item.row - 1: str(getattr(item, task.question_field)).strip() for item in reply.items}
        found = training.find_nearest_to(
            list(texts.values()), settings.solver_examples, embedder, among=among if len(places) > 1 else None
        )
        for (row, text), nearest in zip(texts.items(), found, strict=True):
            questions[row] = _Question(text, about, nearest, reply.call_keys[-1])
    if failures and not questions:
        return failures[0]

    def solve(assigned: Assignment) -> Draft:
        written = questions[assigned.row]
        solver = Solver(written.about, written.nearest, assigned, f"{draw}/{assigned.row}", task, generator)
        fields, problem = solver.vote(written.text, settings.solver_votes)
        provenance = trace(assigned, batch, attempt=attempt, call_key=written.call_key)
        return Draft(row=assigned.row, fields=fields, problem=problem, provenance=provenance)

    return map_concurrently(solve, [a for a in assignments if a.row in questions])


class _Question(NamedTuple):
    """A question that was written, and what it is answered with."""

    text: str
    about: str
    nearest: list[Example]
    call_key: str


def _group_by_about(training: Sequence[Example], task: Task) -> dict[str, list[int]]:
    """Positions of the training rows by what is told about the task with them: of one database each, for instance."""
    groups: dict[str, list[int]] = {}
    for place, row in enumerate(training):
        groups.setdefault(task.about([row]), []).append(place)
    return groups


def _ask_for_questions(
    batch: Batch,
    assignments: Sequence[Assignment],
    training: Sequence[Example],
    about: str,
    draw: str,
    *,
    task: Task,
    generator: PromptedModel,
    settings: GenerationConfig,
) -> StructuredReply[DraftItem] | NoReply:
    sources = [a.source for a in assignments]
    return try_ask(
        generator.ask,
        QUESTIONS,
        {
            "task": about,
            "is_first": False,
            "is_last": True,
            "n": len(assignments),
            "strategy": batch.strategy.strategy if batch.strategy else None,
        },
        draft_item({task.question_field: f"the {task.question_field}"}),
        numbered=Numbered("row", tuple(a.row + 1 for a in assignments)),
        temperature=settings.temperature,
        draw=draw,
        tags=TAGS,
        shown=_show_questions(draw_others(sources, training, draw), sources, about, task),
    )


def draw_others(sources: Sequence[Example], training: Sequence[Example], draw: str) -> list[Example]:
    """As many other training rows as there are sources, if there are so many."""
    known = {row.id for row in sources}
    n_drawn = min(len(training), len(sources) + len(known))
    drawn = [training[place] for place in Random(f"others/{draw}").sample(range(len(training)), n_drawn)]
    return [row for row in drawn if row.id not in known][: len(sources)]


def _show_questions(others: Sequence[Example], sources: Sequence[Example], about: str, task: Task) -> list[ShownRows]:
    """The real questions that the writer goes on from: those of other rows, and then those of the batch's sources."""
    turns = [rows for rows in (others, sources) if rows]
    name = task.question_field
    return [
        ShownRows(
            template=QUESTIONS,
            variables={"task": about, "is_first": place == 0, "is_last": False, "n": len(rows)},
            items=tuple({"row": n, name: task.show(row)[name]} for n, row in enumerate(rows, start=1)),
        )
        for place, rows in enumerate(turns)
    ]


@dataclass(frozen=True)
class Solver:
    """Answers one question several times, beside real rows like it."""

    about: str
    """What is told about the task."""
    examples: Sequence[Example]
    """Nearest first."""
    assigned: Assignment
    draw: str
    task: Task
    generator: PromptedModel

    def vote(self, question: str, n_votes: int) -> tuple[dict[str, str], str]:
        """The fields of the row with its first answer, and why it cannot be used; empty if it can.

        No more answers are asked for than are needed to know whether more than half of `n_votes` agree with the first.
        """
        fields = {self.task.question_field: question}
        first = self._answer(question, vote=0)
        if isinstance(first, NoReply):
            return fields, f"its writer gave no answer to it: {first.reason}"
        fields |= first
        made = self._compose(fields)
        if isinstance(made, DraftProblem):
            return fields, made.reason
        checked = self.task.verify_label(made)
        if checked.value == "wrong":
            return fields, checked.reason
        n_agree = n_asked = 1
        while 2 * n_agree <= n_votes < 2 * (n_agree + n_votes - n_asked):
            other = self._answer(question, vote=n_asked)
            n_agree += not isinstance(other, NoReply) and self._agrees(made, {**fields, **other})
            n_asked += 1
        if 2 * n_agree > n_votes:
            return fields, ""
        return (
            fields,
            f"asked {n_asked} times, its writer gave this answer only {'once' if n_agree == 1 else f'{n_agree} times'}",
        )

    def _agrees(self, first: Example, fields: Mapping[str, str]) -> bool:
        other = self._compose(fields)
        if isinstance(other, DraftProblem):
            return False
        said = Prediction(example_id=first.id, response=self.task.solution(other))
        return self.task.verify(first, said).value == "correct"

    def _compose(self, fields: Mapping[str, str]) -> Example | DraftProblem:
        return self.task.compose(fields, source=self.assigned.source, given={}, example_id="answer")

    def _answer(self, question: str, *, vote: int) -> dict[str, str] | NoReply:
        name = self.task.question_field
        wanted = {key: text for key, text in self.task.draft_fields_for([self.assigned.source]).items() if key != name}
        turns = [self.task.show(row) for row in reversed(self.examples)]
        reply = try_ask(
            self.generator.ask,
            ANSWER,
            {"task": self.about, "is_first": not turns, "question": question},
            draft_item(wanted),
            numbered=number_from_one("row", 1),
            temperature=OTHER_TEMPERATURE if vote else FIRST_TEMPERATURE,
            draw=f"{self.draw}/{vote}",
            tags=TAGS,
            shown=[
                ShownRows(
                    template=ANSWER,
                    variables={"task": self.about, "is_first": place == 0, "question": shown[name]},
                    items=({"row": 1, **{key: shown[key] for key in wanted if key in shown}},),
                )
                for place, shown in enumerate(turns)
            ],
        )
        if isinstance(reply, NoReply):
            return reply
        return {key: str(value).strip() for key, value in reply.items[0].model_dump(exclude={"row"}).items()}
