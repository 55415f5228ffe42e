"""Label verification by independent solving: the judge answers rows itself, and a majority of its answers must match their label."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from random import Random
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field, create_model

from pada_agent.agents.guards.guard import reject
from pada_agent.agents.quality_control.judge_calibration import Claim
from pada_agent.core.concurrency import map_concurrently
from pada_agent.core.config import VerificationConfig
from pada_agent.core.records import Example, Record, Rejection
from pada_agent.evaluation.task import OpenQuestion, Task
from pada_agent.evaluation.verifiers.solver_answer import choose_marks
from pada_agent.prompts.numbering import number_from_one
from pada_agent.prompts.prompted_model import NoReply, PromptedModel, try_ask


class AnswerForm(NamedTuple):
    """How a question is to be answered."""

    is_choice: bool
    """Whether there are options to choose from."""
    answer: str
    """What the answer itself consists of, in words for the prompt."""
    n_words: int
    """Maximum number of words of reasoning before the answer."""
    n_tokens: int
    """Tokens reserved for one item of the reply, including reasoning and the JSON around it."""


CHOICE = AnswerForm(is_choice=True, answer="its letter", n_words=15, n_tokens=60)
FREE = AnswerForm(is_choice=False, answer="a number or a few words", n_words=40, n_tokens=110)


class SolutionItem(BaseModel):
    """What the LLM returns for one sample: the reasoning comes before the answer."""

    model_config = ConfigDict(extra="ignore", coerce_numbers_to_str=True)

    sample: int = Field(description="number of the sample")


class Vote(Record):
    """One usable answer of the judge to one claim."""

    agrees: bool
    said: str
    """The judge's answer in words."""


class Solved(Record):
    """The outcome of solving the rows of one attempt."""

    kept: tuple[Example, ...]
    """Rows that were confirmed, not selected for solving, or got no usable vote. A row that could not be solved is not wrong."""
    rejected: tuple[Rejection, ...] = ()
    n_solved: int = 0
    """Number of rows with at least one usable vote."""
    answered: dict[str, bool] = Field(default_factory=dict)
    """By probe id, whether the majority gave the claimed answer. Probes without a usable vote are left out."""
    problems: tuple[str, ...] = ()
    """Why there was no vote, one entry per failed call."""


def verify_answers(
    rows: Sequence[Example],
    *,
    draw: str,
    task: Task,
    judge: PromptedModel,
    settings: VerificationConfig,
    rows_per_call: int | None,
    seed: int,
    probes: Sequence[Claim] = (),
) -> Solved:
    """Solve the configured share of the rows as often as the settings say, and reject rows whose label gets no majority.

    Rows are passed on unsolved if their label is checked by other means (code, spans) or cannot be checked (open
    answers). Probes are solved along with the rows but counted separately.

    Args:
        draw: what tells this attempt's calls from those of other attempts with the same prompts.
    """
    drawn = [row for row in rows if Random(f"solve/{seed}/{row.id}").random() < settings.share]
    claims = [*(Claim(id=row.id, question=row, claimed=row) for row in drawn), *(probes if drawn else ())]
    by_form: dict[AnswerForm, list[Claim]] = {}
    for claim in claims:
        if (posed := task.pose(claim.question, Random(0))) is not None:
            by_form.setdefault(_form_of(posed), []).append(claim)
    chunks = [
        (chunk, form, vote)
        for form, found in by_form.items()
        for vote in range(settings.votes_for(is_choice=form.is_choice))
        for chunk in _cut(found, judge.fit(rows_per_call or len(found), tokens_each=form.n_tokens))
    ]

    def solve(chunk: tuple[Sequence[Claim], AnswerForm, int]) -> dict[str, Vote] | NoReply:
        return _solve(*chunk, draw=draw, task=task, judge=judge, settings=settings)

    votes: dict[str, list[Vote]] = {}
    problems: list[str] = []
    for answers in map_concurrently(solve, chunks):
        if isinstance(answers, NoReply):
            problems.append(answers.reason)
            continue
        for claim_id, vote in answers.items():
            votes.setdefault(claim_id, []).append(vote)
    agreed = {claim_id: 2 * sum(v.agrees for v in found) > len(found) for claim_id, found in votes.items()}
    refused = {row.id for row in rows if not agreed.get(row.id, True)}
    return Solved(
        kept=tuple(row for row in rows if row.id not in refused),
        rejected=tuple(_refuse(row, votes[row.id], task) for row in rows if row.id in refused),
        n_solved=sum(row.id in votes for row in rows),
        answered={probe.id: agreed[probe.id] for probe in probes if probe.id in agreed},
        problems=tuple(problems),
    )


def _form_of(posed: OpenQuestion) -> AnswerForm:
    if posed.options:
        return CHOICE._replace(answer=f"its {choose_marks(posed.options).kind}")
    return FREE._replace(answer=posed.expects) if posed.expects else FREE


@lru_cache(maxsize=64)
def solution_item(form: AnswerForm) -> type[SolutionItem]:
    """The item model. Its fields ask for the reasoning before the answer."""
    return create_model(
        "Solution",
        __base__=SolutionItem,
        working=(str, Field(description=f"how to get to the answer, at most {form.n_words} words")),
        answer=(str, Field(min_length=1, description=f"the answer alone: {form.answer}")),
    )


def _solve(
    claims: Sequence[Claim],
    form: AnswerForm,
    vote: int,
    *,
    draw: str,
    task: Task,
    judge: PromptedModel,
    settings: VerificationConfig,
) -> dict[str, Vote] | NoReply:
    """One vote per claim, except for claims that got no usable answer."""
    posed = pose_together(claims, vote, task)
    shared = posed[0].options if len({q.options for q in posed}) == 1 and posed[0].options else ()
    n_votes = settings.votes_for(is_choice=form.is_choice)
    reply = try_ask(
        judge.ask,
        "answer_solving",
        {
            "task": task.about([claim.question for claim in claims]),
            "mark": choose_marks(posed[0].options).kind,
            "shared": _list_options(posed[0]) if shared else [],
            "questions": [_describe(n, q, with_options=not shared) for n, q in enumerate(posed, start=1)],
        },
        solution_item(form),
        numbered=number_from_one("sample", len(claims)),
        temperature=settings.temperature_for(n_votes),
        draw=f"{draw}/{vote}",
        tags={"agent": "answer_verification"},
    )
    if isinstance(reply, NoReply):
        return reply
    answers = {item.sample: str(item.model_dump()["answer"]) for item in reply.items}
    return {
        claim.id: vote_cast
        for n, (claim, q) in enumerate(zip(claims, posed, strict=True), start=1)
        if n in answers and (vote_cast := _read_vote(claim, answers[n], q, task)) is not None
    }


def _read_vote(claim: Claim, answer: str, posed: OpenQuestion, task: Task) -> Vote | None:
    """None if the answer agrees with nothing: it names no option, or says that there is no answer."""
    agrees, said = task.agrees(claim.claimed, answer, posed), task.word_answer(answer, posed)
    return Vote(agrees=agrees, said=said or answer.strip()) if agrees or said is not None else None


def pose_together(claims: Sequence[Claim], vote: int, task: Task) -> list[OpenQuestion]:
    """The questions of one call. Options that all of them share are kept in one order, so that they can be listed once."""
    apart = [task.pose(claim.question, Random(f"{claim.id}/{vote}")) for claim in claims]
    sets = {frozenset(q.options) for q in apart if q}
    together = [task.pose(claim.question, Random(f"{claims[0].id}/{vote}")) for claim in claims]
    alike = len(sets) == 1 and len({q.options for q in together if q}) == 1
    return [q for q in (together if alike else apart) if q is not None]


def _cut(claims: Sequence[Claim], size: int) -> list[Sequence[Claim]]:
    return [claims[i : i + size] for i in range(0, len(claims), size)]


def _describe(number: int, posed: OpenQuestion, *, with_options: bool) -> Mapping[str, object]:
    return {"number": number, "question": posed.question, "options": _list_options(posed) if with_options else []}


def _list_options(posed: OpenQuestion) -> list[dict[str, str]]:
    """`label` is empty if options are to be named by their text."""
    marks = choose_marks(posed.options).marks or [""] * len(posed.options)
    return [
        {"label": mark, "text": text, "note": posed.notes.get(text, "")}
        for mark, text in zip(marks, posed.options, strict=True)
    ]


def _refuse(row: Example, votes: Sequence[Vote], task: Task) -> Rejection:
    others = [v.said for v in votes if not v.agrees]
    gold, most = task.gold(row), max(others, key=others.count)
    n_agree = sum(v.agrees for v in votes)
    counted = f" ({n_agree} of {len(votes)} answers agree)" if len(votes) > 1 else ""
    reason = f"answered on its own it comes out as '{most}', not '{gold}'{counted}"
    return reject(row, "verification", reason, may_be_overruled=True)
