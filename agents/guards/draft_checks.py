"""Label verification: turns drafts into examples and shows them to every guard before the judge is asked."""

import re
from collections.abc import Mapping, Sequence

from pada_agent.agents.data_generation.generate import Assignment
from pada_agent.agents.data_generation.question_form import QuestionForm
from pada_agent.agents.guards.escaped_text import unescape_as_in
from pada_agent.agents.guards.guard import Guard, Refusal, reject
from pada_agent.core.errors import PartError
from pada_agent.core.records import Draft, Example, Record, Rejection
from pada_agent.core.returned import check_returned
from pada_agent.evaluation.task import DraftProblem, Task


class VerifiedDrafts(Record):
    """Drafts that became examples, and those that did not, each with the reason."""

    candidates: tuple[Example, ...]
    rejections: tuple[Rejection, ...]


def verify_drafts(
    drafts: Sequence[Draft],
    assignments: Sequence[Assignment],
    *,
    task: Task,
    guards: Sequence[Guard],
    form: QuestionForm | None = None,
) -> VerifiedDrafts:
    """Turn the drafts into examples and show these to one guard after the other. Each guard sees what the previous ones let pass.

    Args:
        form: the form to give to the written questions. None changes nothing.

    Raises:
        PartError: a guard or the task returns what it must not.
    """
    by_row = {a.row: a for a in assignments}
    read = [_unescape(draft, by_row[draft.row].source, task) for draft in drafts]
    formed = [form.shape(draft, task) for draft in read] if form else read
    made = [_compose(draft, by_row[draft.row], task) for draft in formed]
    candidates = [m for m in made if isinstance(m, Example)]
    rejections = [m for m in made if isinstance(m, Rejection)]
    for guard in guards:
        found = _ask(guard, candidates)
        rejections += [
            reject(
                c, guard.stage, found[c.id].reason, may_be_overruled=guard.may_be_overruled, overlap=found[c.id].overlap
            )
            for c in candidates
            if c.id in found
        ]
        candidates = [c for c in candidates if c.id not in found]
    return VerifiedDrafts(candidates=tuple(candidates), rejections=tuple(rejections))


def _ask(guard: Guard, candidates: Sequence[Example]) -> Mapping[str, Refusal]:
    by = f"{type(guard).__name__}.check"
    found = check_returned(guard.check(candidates), Mapping, by=by)  # type: ignore[type-abstract]
    for refusal in found.values():
        check_returned(refusal, Refusal, by=f"The values of {by}")
    if unknown := found.keys() - {candidate.id for candidate in candidates}:
        raise PartError(
            f"{by} rejected {min(map(str, unknown))!r}, which is not the id of a row. Use the ids of the candidates as keys."
        )
    return found


_PROMPT_TAG = re.compile(r'</?(?:row|real|sample)(?: number="[^"<>]{0,9}")?>')
"""The tags that set rows apart in our prompts."""


def find_prompt_tag(draft: Draft, source: Example, task: Task) -> str | None:
    """A tag that a weak writer has copied from its prompt into a row, or None. A tag that the source also has belongs to the data."""
    written = " ".join(draft.fields.values())
    own = set(_PROMPT_TAG.findall(" ".join(task.show(source).values())))
    return next((tag for tag in _PROMPT_TAG.findall(written) if tag not in own), None)


_OF_AN_ASSISTANT = re.compile(
    r"\bas an? (?:ai|artificial intelligence|large language|language)\b(?:[ -]\w+)? ?(?:model|assistant)\b"
    r"|\bi (?:can ?not|can['’]t|won['’]t|(?:am|['’]m) (?:unable|not able) to|must decline to) (?:assist|help|comply|fulfil+)"
    r"(?: you)?(?: with)? (?:that|this|your) (?:request|prompt|task)"
    r"|作为(?:一个|一款|一名)?(?:ai|人工智能)?(?:大?语言模型|助手)|ai?言語モデルとして|als (?:ki-?|großes )?sprachmodell"
    r"|en tant (?:que|qu['’]) ?(?:modèle de langage|ia\b)|como (?:un )?modelo de lengua|come modello linguistico|как языковая модель",
    re.IGNORECASE,
)
"""What a model says of itself where it does not do what it is asked."""


def find_refusal(draft: Draft, source: Example, task: Task) -> str | None:
    """Words of a writer that speaks of itself or refuses, inside a row, or None. Where the source has such words, they belong to the data."""
    if any(map(_OF_AN_ASSISTANT.search, task.show(source).values())):
        return None
    return next((found[0] for text in draft.fields.values() if (found := _OF_AN_ASSISTANT.search(text))), None)


def _find_wordless(draft: Draft, source: Example, task: Task) -> str | None:
    """The name of the question's field if a weak writer has left its words out, as in `...`, or None."""
    name = task.question_field
    texts = task.show(source).get(name, ""), draft.fields.get(name, "")
    real, written = (re.search(r"\w", text) for text in texts)
    return name if real and texts[1].strip() and not written else None


def _unescape(draft: Draft, source: Example, task: Task) -> Draft:
    """The draft without escapes that nobody meant. Programs and queries have escapes of their own."""
    if task.runs_code or task.reads_database:
        return draft
    return draft.model_copy(update={"fields": unescape_as_in(task.show(source).values(), draft.fields)})


def _compose(draft: Draft, assignment: Assignment, task: Task) -> Example | Rejection:
    origin = draft.provenance
    example_id = f"syn-{origin.batch_id}-a{origin.attempt}-r{draft.row + 1}"
    made: Example | DraftProblem
    if draft.problem:
        return reject_draft(draft, "vote", draft.problem)
    if tag := find_prompt_tag(draft, assignment.source, task):
        made = DraftProblem(reason=f"contains {tag}, which belongs to the prompt and not to the row")
    elif words := find_refusal(draft, assignment.source, task):
        made = DraftProblem(reason=f"says '{words}', as an assistant does that refuses: write the row itself")
    elif name := _find_wordless(draft, assignment.source, task):
        made = DraftProblem(reason=f"field '{name}' has no words: write the whole row")
    else:
        made = task.compose(draft.fields, source=assignment.source, given=assignment.given, example_id=example_id)
        if not isinstance(made, DraftProblem):
            made = check_returned(made, Example, by=f"{type(task).__name__}.compose")
    if isinstance(made, DraftProblem):
        return reject_draft(draft, "format", made.reason)
    return made.model_copy(update={"provenance": origin})


def reject_draft(draft: Draft, stage: str, reason: str) -> Rejection:
    """The rejection of a draft that never became a row."""
    text = "\n".join(f"{name}: {value}" for name, value in draft.fields.items())
    return Rejection(stage=stage, reason=reason, text=text, provenance=draft.provenance)
