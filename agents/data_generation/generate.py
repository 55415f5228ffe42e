"""Data Generation Agent: writes the rows of one batch, guided by a pattern or based on training errors."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from random import Random
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, create_model

from pada_agent.agents.data_generation.batch_planning import relevant_confusions, rows_by_label
from pada_agent.agents.data_generation.hard_rows import nearest_wrong_answer
from pada_agent.agents.data_generation.shown_labels import show_labels
from pada_agent.core.generation_config import GenerationConfig
from pada_agent.core.recipes import PATTERN_GUIDED, QUESTION_WORDING, Recipe, find_recipe
from pada_agent.core.records import Batch, Draft, Example, Feedback, Provenance, Record, ScoredRow
from pada_agent.evaluation.row_set import RowSet
from pada_agent.evaluation.task import ROUGH_QUESTION, TURNS, Task
from pada_agent.prompts.numbering import Numbered
from pada_agent.prompts.prompted_model import NoReply, PromptedModel, ShownRows, try_ask
from pada_agent.prompts.structured_call import Wrap

AFTER_SHOWN = "more_examples"
"""The prompt that follows the turns of shown labels."""


class Assignment(Record):
    """One row to write: its position in the batch, the training example it is based on, and what is fixed beforehand."""

    row: int
    """0-based position in the batch."""
    source: Example
    """The training example that the row is based on."""
    given: dict[str, str]
    """Fields whose values are fixed before writing, such as the label, by name."""
    student_answer: str | None = None
    """The student's wrong answer to the source, or the wrong answer it came closest to. Only in the training-error branch."""
    is_near: bool = False
    """Whether the student answered the source correctly, but only by a small margin."""
    contrasts: tuple[Example, ...] = ()
    """Similar training rows that the student answered correctly."""
    demonstrations: tuple[Example, ...] = ()
    """Other training rows with the label that this row is written for."""
    counterexample: Example | None = None
    """A training row of the label that this row's label is mistaken for."""

    @property
    def rough_question(self) -> str | None:
        """A draft question for an answer that code derived from the source's answer. None if the writer also writes the answer."""
        return self.given.get(ROUGH_QUESTION)


class DraftItem(BaseModel):
    """Base class of the per-task models for what the LLM returns for one row."""

    model_config = ConfigDict(extra="ignore", coerce_numbers_to_str=True)

    row: int = Field(description="number of the row")


def assign_rows(
    batch: Batch,
    training: Sequence[Example],
    failures: Mapping[str, ScoredRow],
    *,
    task: Task,
    seed: int,
    n_demonstrations: int = 0,
) -> list[Assignment]:
    """The rows of the batch, each with what it must be written for. The same seed always gives the same result.

    In the pattern branch, a row for a label of a closed set comes with `n_demonstrations` more training rows of that
    label. Rows of one label all target the same mix-up.
    """
    training = RowSet.of(training)
    sources = training.by_id
    confusions = batch.strategy.strategy.confusions if batch.strategy else ()
    assignments = []
    for row, source_id in enumerate(batch.source_ids):
        source = sources[source_id]
        failure = failures.get(source_id) if batch.branch == "training_error" else None
        given = task.assign(source, relevant_confusions(source, confusions, task), Random(f"{seed}/{batch.id}"))
        if batch.given:
            given = {name: text for name, text in given.items() if name == TURNS} | batch.given[row]
        answer = nearest_wrong_answer(failure) if failure else None
        is_near = failure is not None and failure.verdict.value == "correct"
        contrasts = tuple(sources[i] for i in batch.contrast_ids[row]) if batch.contrast_ids else ()
        assigned = Assignment(
            row=row, source=source, given=given, student_answer=answer, is_near=is_near, contrasts=contrasts
        )
        if batch.branch == "pattern" and n_demonstrations:
            rng = Random(f"{seed}/{batch.id}/shown")
            assigned = demonstrate(assigned, training, n=n_demonstrations, task=task, rng=rng)
        assignments.append(assigned)
    return assignments


def choose_recipe(batch: Batch, assignments: Sequence[Assignment], settings: GenerationConfig) -> Recipe:
    """The generation recipe (prompt template) for the batch."""
    if any(a.rough_question is not None for a in assignments):
        return QUESTION_WORDING
    return PATTERN_GUIDED if batch.branch == "pattern" else find_recipe(settings.template)


def demonstrate(assigned: Assignment, training: Sequence[Example], *, n: int, task: Task, rng: Random) -> Assignment:
    """Add `n` other training rows with the row's label, and one of the label that it is mistaken for.

    A weak writer takes tone and detail from real rows rather than from instructions. Without a closed label set,
    nothing is added.
    """
    label, taken_for = assigned.given.get("label"), assigned.given.get("easily_mistaken_for")
    by_label = rows_by_label(training, task) if label or taken_for else {}
    alike = [e for e in by_label.get(label or None, ()) if label and e.id != assigned.source.id]
    others = by_label.get(taken_for, ()) if taken_for else ()
    return assigned.model_copy(
        update={
            "demonstrations": tuple(rng.sample(alike, min(n, len(alike)))),
            "counterexample": rng.choice(others) if others else None,
        }
    )


def generate_drafts(
    batch: Batch,
    assignments: Sequence[Assignment],
    *,
    attempt: int,
    feedback: Sequence[Feedback],
    task: Task,
    generator: PromptedModel,
    settings: GenerationConfig,
    seed: int = 0,
    training: Sequence[Example] = (),
) -> list[Draft] | NoReply:
    """Have the assigned rows written in one LLM call. A rejected row is shown with its last version and the advice on it.

    Without a call if code has made the questions too, and the settings keep them as they are.

    Args:
        training: the rows that `generation.n_shown_labels` shows some of.
    """
    if not (settings.reword or feedback) and all(a.rough_question is not None for a in assignments):
        return [draft_by_code(a, batch, attempt=attempt, task=task) for a in assignments]
    call = plan_call(batch, assignments, feedback=feedback, task=task, settings=settings, seed=seed, training=training)
    reply = try_ask(
        generator.knowing(call.own_template).ask,
        call.template,
        call.variables,
        draft_item(call.fields),
        numbered=Numbered("row", tuple(a.row + 1 for a in assignments)),
        temperature=settings.temperature,
        draw=f"{seed}/{batch.id}/{attempt}",
        tags={"agent": "data_generation"},
        shown=call.shown,
        wrap=call.wrap,
    )
    if isinstance(reply, NoReply):
        return reply
    drafts = _to_drafts(reply.items, batch, assignments, attempt=attempt, call_key=reply.call_keys[-1])
    return [d.model_copy(update={"fields": {**call.copied.get(d.row, {}), **d.fields}}) for d in drafts]


def draft_by_code(assignment: Assignment, batch: Batch, *, attempt: int, task: Task) -> Draft:
    """The row with the answer and the question that code made."""
    made = {task.question_field: assignment.rough_question or ""}
    fields = {**task.show(assignment.source), **_fixed_by_code(assignment), **made}
    return Draft(row=assignment.row, fields=fields, provenance=trace(assignment, batch, attempt=attempt))


class WritingCall(NamedTuple):
    """What the writer is asked in one call."""

    template: str
    own_template: dict[str, str]
    """The prompt of a recipe from another package, by name."""
    variables: dict[str, Any]
    fields: dict[str, str]
    """What to write of each row, with a description."""
    copied: dict[int, dict[str, str]]
    """Fields that are not written, by the row's 0-based position in the batch."""
    shown: list[ShownRows]
    wrap: Wrap
    """Rows of one label that consist of one text are all alike, so they need no numbers, unless each has advice of its own."""


def plan_call(
    batch: Batch,
    assignments: Sequence[Assignment],
    *,
    feedback: Sequence[Feedback],
    task: Task,
    settings: GenerationConfig,
    seed: int,
    training: Sequence[Example],
) -> WritingCall:
    """What to ask the writer for these rows, as the recipe and the settings say."""
    recipe, sent_back = choose_recipe(batch, assignments, settings), {f.row: f for f in feedback}
    sources = [a.source for a in assignments]
    if recipe.rewrites_only_question:
        about = task.config.description
        fields = {task.question_field: f"the {task.question_field} of the row"}
        copied = {a.row: {**task.show(a.source), **_fixed_by_code(a)} for a in assignments}
    else:
        about, fields, copied = task.about(sources), task.draft_fields_for(sources), {}
    together = _describe_together(assignments, task)
    label, shown = together["shared"].get("label"), list[ShownRows]()
    is_plain = label in task.config.labels and not together["shared"][TURNS]
    if is_plain and recipe.goes_on and settings.n_shown_labels:
        own = _real_rows(assignments)
        shown = show_labels(label, own, training, fields=list(fields), task=task, settings=settings, seed=seed)
    variables = {
        "task": about,
        "variety": task.variety,
        "strategy": batch.strategy.strategy if batch.strategy else None,
        "rows": [
            {**_describe(a, task, show_answer=settings.show_answer), "previous": sent_back.get(a.row)}
            for a in assignments
        ],
        **together,
        "field": task.question_field,
    }
    return WritingCall(
        template=AFTER_SHOWN if shown else recipe.template,
        own_template={recipe.template: recipe.text} if recipe.text else {},
        variables=variables,
        fields=fields,
        copied=copied,
        shown=shown,
        wrap="texts" if shown and len(fields) == 1 and not sent_back else "array",
    )


def draft_item(fields: Mapping[str, str]) -> type[DraftItem]:
    """The item model for a task's draft fields. All are non-empty strings."""
    return _draft_item(tuple(fields.items()))


@lru_cache(maxsize=64)
def _draft_item(fields: tuple[tuple[str, str], ...]) -> type[DraftItem]:
    definitions: dict[str, Any] = {name: (str, Field(min_length=1, description=text)) for name, text in fields}
    return create_model("Row", __base__=DraftItem, **definitions)


def _fixed_by_code(assignment: Assignment) -> dict[str, str]:
    is_varied = assignment.rough_question is not None
    return {name: text for name, text in assignment.given.items() if is_varied and name != ROUGH_QUESTION}


def _describe(assignment: Assignment, task: Task, *, show_answer: bool) -> dict[str, Any]:
    return {
        "number": assignment.row + 1,
        "example": task.show(assignment.source),
        "question": task.asked(assignment.source),
        "truth": task.gold(assignment.source) if show_answer else None,
        "given": assignment.given,
        "student_answer": assignment.student_answer,
        "is_near": assignment.is_near,
        "rough_question": assignment.rough_question,
        "contrasts": [{"question": task.asked(e), "answer": task.gold(e)} for e in assignment.contrasts],
    }


def _describe_together(assignments: Sequence[Assignment], task: Task) -> dict[str, Any]:
    """What all rows of a call have in common: the given fields, and real rows that illustrate them. Empty if the labels are not a closed set."""
    given = assignments[0].given if assignments else {}
    if "label" not in given or any(a.given != given for a in assignments):
        return {"shared": {}, "real": [], "opposite": []}
    opposite = [a.counterexample for a in assignments if a.counterexample]
    return {
        "shared": {"easily_mistaken_for": "", "definition_of_that": "", TURNS: ""} | given,
        "real": [_show_written(e, assignments[0], task) for e in _real_rows(assignments)],
        "opposite": [_show_written(e, assignments[0], task) for e in _distinct(opposite)],
    }


def _real_rows(assignments: Sequence[Assignment]) -> list[Example]:
    """The training rows that these rows are based on, and those shown with them."""
    return _distinct([e for a in assignments for e in (a.source, *a.demonstrations)])


def _distinct(examples: Sequence[Example]) -> list[Example]:
    return list({e.id: e for e in examples}.values())


def _show_written(example: Example, assignment: Assignment, task: Task) -> dict[str, str]:
    """The fields that the writer has to write: all that are not given. Before them, the earlier turns, unless they are the written rows' own."""
    shown = dict(task.show(example))
    turns = shown.pop(TURNS, "")
    own = {TURNS: turns} if turns and turns != assignment.given.get(TURNS) else {}
    return own | {name: text for name, text in shown.items() if name not in assignment.given}


def _to_drafts(
    items: Sequence[DraftItem], batch: Batch, assignments: Sequence[Assignment], *, attempt: int, call_key: str
) -> list[Draft]:
    by_row = {a.row: a for a in assignments}
    return [
        Draft(
            row=item.row - 1,
            fields={name: str(value).strip() for name, value in item.model_dump(exclude={"row"}).items()},
            provenance=trace(by_row[item.row - 1], batch, attempt=attempt, call_key=call_key),
        )
        for item in items
    ]


def trace(assignment: Assignment, batch: Batch, *, attempt: int, call_key: str = "") -> Provenance:
    """Where the row comes from."""
    return Provenance(
        branch=batch.branch,
        iteration=batch.iteration,
        batch_id=batch.id,
        attempt=attempt,
        source_id=assignment.source.id,
        row=assignment.row,
        strategy_id=batch.strategy.strategy.id if batch.strategy else None,
        call_key=call_key,
    )
