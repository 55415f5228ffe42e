"""The agents that produce one batch: generation, label verification, quality control, and the report on it."""

from collections import Counter
from collections.abc import Sequence
from functools import partial
from random import Random
from typing import Any

from pada_agent.agents.data_generation.generate import Assignment, assign_rows, generate_drafts
from pada_agent.agents.data_generation.question_form import find_form
from pada_agent.agents.data_generation.solved_rows import write_solved
from pada_agent.agents.guards.draft_checks import verify_drafts
from pada_agent.agents.guards.guard import NOT_NEEDED, GuardContext, reject
from pada_agent.agents.quality_control.acceptance import accept_unreviewed, decide, keep_ratings, read_probes
from pada_agent.agents.quality_control.answer_verification import verify_answers
from pada_agent.agents.quality_control.feedback import advise, remember
from pada_agent.agents.quality_control.judge_calibration import Probe, make_probes
from pada_agent.agents.quality_control.rating import rate_batch
from pada_agent.agents.unusable_answers import GENERATOR, JUDGE, SOLVER, AnswerCount
from pada_agent.core.records import Batch, BatchReport, Branch, Draft, JudgeProbe, Rating, Ref, Rejection, Unusable
from pada_agent.core.tally import Tally
from pada_agent.evaluation.row_set import RowSet
from pada_agent.evaluation.rows.token_limits import explain_unlearnable
from pada_agent.graph.adapters import Adapters
from pada_agent.graph.done_batches import keep_done
from pada_agent.graph.reporting import report_progress, report_stage
from pada_agent.graph.rows import (
    find_similarity_limit,
    read_known_rows,
    read_protected,
    read_training,
    read_training_failures,
)
from pada_agent.graph.state import BatchState, PartialState, count_missing, open_rows
from pada_agent.graph.storing import put_rows
from pada_agent.prompts.prompted_model import NoReply, PromptedModel

SPARE = "its call had enough rows without it, so the judge has not seen it"
"""Why a spare row is not used although it passed the checks before the judge."""

BRANCHES: dict[Branch, str] = {"pattern": "generalization_branch", "training_error": "training_error_branch"}
"""The node that makes each branch's batches."""


def data_generation(state: BatchState, adapters: Adapters) -> PartialState:
    """Write the rows of the batch that are still open, using the feedback on earlier attempts."""
    batch, attempt = state["batch"], state.get("attempt", 0) + 1
    find_tally(state, adapters).begin(report_progress)
    assignments = open_assignments(state, adapters)
    answers = find_answer_count(state, adapters)
    started = {"attempt": attempt, "candidates": [], "drafts": []}
    try:
        if answers.is_hopeless:  # further calls would be paid for in vain
            return started
        answers.begin(GENERATOR, batch.id, label=find_label(batch, state, adapters))
        drafts = write_drafts(assignments, state, adapters, attempt=attempt)
    finally:
        if attempt == 1:
            find_tally(state, adapters).add(batch.n_wanted, report_progress, step="written")
    started["n_asked"] = state.get("n_asked", 0) + count_missing(state)
    answers.end(GENERATOR, batch.id, is_usable=not isinstance(drafts, NoReply))
    if isinstance(drafts, NoReply):
        return {**started, "unusable": note_unusable(state, GENERATOR, drafts.reason)}
    return {**started, "drafts": drafts, "n_written": state.get("n_written", 0) + len(drafts)}


def write_drafts(
    assignments: Sequence[Assignment], state: BatchState, adapters: Adapters, *, attempt: int
) -> list[Draft] | NoReply:
    """Have the rows written, in the way that was chosen for the batch."""
    settings, batch = state["settings"], state["batch"]
    given: dict[str, Any] = {
        "attempt": attempt,
        "task": adapters.task,
        "generator": _tag(adapters.generator, batch, attempt),
        "settings": settings.generation,
        "seed": settings.seed,
        "training": read_training(state, adapters),
    }
    if batch.is_solved:
        return write_solved(batch, assignments, embedder=adapters.embedder, **given)
    return generate_drafts(batch, assignments, feedback=state.get("feedback", []), **given)


def label_verification(state: BatchState, adapters: Adapters) -> PartialState:
    """Turn the drafts into rows and have every guard check them. If a later check takes calls, only as many go on as the batch still owes."""
    settings, accepted = state["settings"], state.get("accepted", [])
    context = GuardContext(
        settings=settings,
        task=adapters.task,
        known=RowSet(accepted, beyond=read_known_rows(state, adapters)),
        protected=read_protected(state, adapters),
        training=read_training(state, adapters),
        embedder=adapters.embedder,
        contamination_similarity=find_similarity_limit(state, adapters),
        explain_unlearnable=partial(explain_unlearnable, tokens=adapters.tokens, lora=settings.lora),
    )
    result = verify_drafts(
        state["drafts"],
        open_assignments(state, adapters),
        task=adapters.task,
        guards=[kind(context) for kind in adapters.guards],
        form=find_form(read_training(state, adapters), adapters.task) if settings.generation.match_form else None,
    )
    n = count_missing(state) if settings.quality.enabled or settings.solves_rows else len(result.candidates)
    sent_back = send_back(state, result.rejections)
    spare = [reject(row, NOT_NEEDED, SPARE, may_be_overruled=True) for row in result.candidates[n:]]
    return {**sent_back, "candidates": list(result.candidates[:n]), "rejected": [*sent_back["rejected"], *spare]}


def answer_verification(state: BatchState, adapters: Adapters) -> PartialState:
    """Have the judge answer the candidates without seeing their labels. Rows that it answers differently are sent back."""
    settings, batch, attempt = state["settings"], state["batch"], state["attempt"]
    if not settings.solves_rows:
        return {"answered": {}}
    solved = verify_answers(
        state["candidates"],
        draw=f"{batch.id}/{attempt}",
        task=adapters.task,
        judge=_tag(adapters.judge, batch, attempt),
        settings=settings.verification,
        rows_per_call=settings.verification.rows_per_call or settings.quality.rows_per_call,
        seed=settings.seed,
        probes=[probe.claim for probe in draw_probes(state, adapters) if probe.claim],
    )
    return {
        "candidates": list(solved.kept),
        "answered": solved.answered,
        "n_solved": state.get("n_solved", 0) + solved.n_solved,
        "unusable": note_unusable(state, SOLVER, *solved.problems),
        **send_back(state, solved.rejected),
    }


def quality_control(state: BatchState, adapters: Adapters) -> PartialState:
    """Have the candidates rated. Accept those that pass and send the others back."""
    quality, batch, candidates = state["settings"].quality, state["batch"], state["candidates"]
    attempt = state["attempt"]
    score: float | None = None
    problems: tuple[str, ...] = ()
    found: tuple[JudgeProbe, ...] = ()
    if quality.enabled:
        probes = draw_probes(state, adapters) if candidates else []
        answers = find_answer_count(state, adapters)
        if candidates:
            answers.begin(JUDGE, batch.id, label=find_label(batch, state, adapters))
        rating = rate_batch(
            candidates,
            read_training(state, adapters).by_id,
            strategy=batch.strategy.strategy if batch.strategy else None,
            draw=f"{batch.id}/{attempt}",
            task=adapters.task,
            judge=_tag(adapters.judge, batch, attempt),
            rows_per_call=quality.rows_per_call,
            probes=probes,
        )
        if candidates:
            answers.end(JUDGE, batch.id, is_usable=bool(rating.ratings))
        is_last = attempt >= quality.max_attempts
        decision = decide(candidates, rating, quality=quality, is_last_attempt=is_last)
        score, problems = rating.score, rating.problems
        found = read_probes(probes, rating, answered=state["answered"], quality=quality)
    else:
        decision = accept_unreviewed(candidates)
    accepted = [*state.get("accepted", []), *decision.accepted]
    update = send_back(state, decision.rejected)
    report_stage(
        "quality_control",
        adapters,
        detail=f"{batch.id}, attempt {attempt}: {decision.word}",
        requested=batch.n_wanted,
        accepted=len(accepted),
        rejected=len(update["rejected"]),
    )
    return {
        **update,
        "candidates": [],
        "accepted": accepted,
        "ratings": [*state.get("ratings", []), *decision.ratings],
        "score": score,
        "decision": decision.word,
        "unusable": note_unusable(state, JUDGE, *problems),
        "probes": [*state.get("probes", []), *found],
    }


def _tag(model: PromptedModel, batch: Batch, attempt: int) -> PromptedModel:
    """The model, with what each of its calls is for."""
    return model.tagged(iteration=batch.iteration, batch=batch.id, attempt=attempt)


def note_unusable(state: BatchState, kind: str, *problems: str) -> dict[str, list[str]]:
    """What was wrong with the batch's unusable replies, by kind of call, including these new ones."""
    noted = state.get("unusable", {})
    return {**noted, kind: [*noted.get(kind, []), *problems]} if problems else noted


def send_back(state: BatchState, rejections: Sequence[Rejection]) -> PartialState:
    """Record the rejected rows and the feedback for their writer. An attempt that gave nothing usable keeps the earlier feedback."""
    drafts = {draft.row: draft.fields for draft in state["drafts"]}
    return {
        "rejected": [*state.get("rejected", []), *rejections],
        "feedback": remember(state.get("feedback", []), advise(rejections, drafts)),
    }


def draw_probes(state: BatchState, adapters: Adapters) -> list[Probe]:
    """Rows of known quality for the first attempt at a batch; the same ones on every call. Empty after it, and if nothing is rated."""
    settings, batch = state["settings"], state["batch"]
    if state["attempt"] > 1 or not settings.quality.enabled:
        return []
    return make_probes(
        read_training(state, adapters),
        n_rows=batch.n_wanted,
        share=settings.quality.probe_share,
        task=adapters.task,
        rng=Random(f"probes/{settings.seed}/{batch.id}"),
    )


def record_batch(state: BatchState, adapters: Adapters) -> PartialState:
    """Store the batch's rows and its report."""
    batch, accepted, rejected, store = state["batch"], state["accepted"], state["rejected"], adapters.store
    find_tally(state, adapters).add(batch.n_wanted, report_progress, accepted=min(len(accepted), batch.n_wanted))
    report = BatchReport(
        batch_id=batch.id,
        iteration=batch.iteration,
        top_up=batch.top_up,
        branch=batch.branch,
        strategy_id=batch.strategy.strategy.id if batch.strategy else None,
        label=find_label(batch, state, adapters),
        attempts=state["attempt"],
        n_requested=batch.n_wanted,
        n_asked=state.get("n_asked", 0),
        n_written=state.get("n_written", 0),
        n_accepted=len(accepted),
        n_rejected=dict(Counter(r.stage for r in rejected)),
        unusable={
            kind: Unusable(n=len(problems), first=problems[0]) for kind, problems in state.get("unusable", {}).items()
        },
        score=state["score"],
        n_solved=state.get("n_solved", 0),
        probes=tuple(state.get("probes", [])),
        decision=state["decision"],
        accepted=put_rows(store, "accepted", accepted),
        rejected=put_rows(store, "rejected", rejected),
        ratings=store_ratings(keep_ratings(accepted, state.get("ratings", [])), adapters),
        samples=tuple(f"{e.prompt} → {e.answer}"[:600] for e in accepted[:2]),
    )
    keep_done(report, state, adapters)
    return {"batches": {batch.id: report}}


def find_label(batch: Batch, state: BatchState, adapters: Adapters) -> str | None:
    """The label that the batch's source rows share, if any."""
    rows = read_training(state, adapters).by_id
    labels = {adapters.task.closed_label(rows[i]) if i in rows else None for i in batch.source_ids}
    return labels.pop() if len(labels) == 1 else None


def store_ratings(ratings: Sequence[Rating], adapters: Adapters) -> Ref | None:
    """Store ratings as an object of their own, so that the rows and their hash do not depend on what the judge said."""
    return put_rows(adapters.store, "ratings", ratings) if ratings else None


def find_tally(state: BatchState, adapters: Adapters) -> Tally:
    """Counts the rows of all batches that are made at the same time, for progress messages."""
    batch = state["batch"]
    stage, total = "top_up" if batch.top_up else BRANCHES[batch.branch], state["n_rows"]
    return adapters.memory.get(
        ("tally", stage, batch.iteration, batch.top_up, total),
        lambda: Tally(stage, total, unit="rows", steps=("written", "checked")),
    )


def find_answer_count(state: BatchState, adapters: Adapters) -> AnswerCount:
    """What is known about the answers to all batches of the iteration."""
    return adapters.memory.get(("answers", state["data"].train.key, state["iteration"]), AnswerCount)


def open_assignments(state: BatchState, adapters: Adapters) -> list[Assignment]:
    """The rows that are still to be written, with their sources and their given fields."""
    every = assign_rows(
        state["batch"],
        read_training(state, adapters),
        read_training_failures(state, adapters),
        task=adapters.task,
        seed=state["settings"].seed,
        n_demonstrations=state["settings"].generation.n_demonstrations,
    )
    still_open = set(open_rows(state))
    return [a for a in every if a.row in still_open]
