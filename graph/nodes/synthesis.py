"""The agents that make one batch: generation, label verification, quality control, and the record of it."""

from collections import Counter
from collections.abc import Sequence
from random import Random

from pada_agent.agents.data_generation.generate import Assignment, assign_rows, generate_drafts
from pada_agent.agents.guards.draft_checks import verify_drafts
from pada_agent.agents.quality_control.answer_verification import verify_answers
from pada_agent.agents.quality_control.judge_calibration import Probe, make_probes
from pada_agent.agents.quality_control.rating import (
    accept_unreviewed,
    decide,
    describe_rejections,
    keep_ratings,
    rate_batch,
    read_probes,
)
from pada_agent.core.errors import StructuredOutputError
from pada_agent.core.records import BatchReport, Example, Rating, Ref, ScoredRow
from pada_agent.graph.context import Adapters, report_stage
from pada_agent.graph.rows import read_known_rows, read_protected
from pada_agent.graph.state import BatchState, PartialState, open_rows


def data_generation(state: BatchState, adapters: Adapters) -> PartialState:
    """Write the rows of the batch that are still open, heeding feedback."""
    settings, batch, attempt = state["settings"], state["batch"], state.get("attempt", 0) + 1
    started = {"attempt": attempt, "candidates": [], "drafts": []}
    try:
        drafts = generate_drafts(
            batch,
            open_assignments(state, adapters),
            attempt=attempt,
            feedback=state.get("feedback", ""),
            task=adapters.task,
            generator=adapters.generator,
            settings=settings.generation,
        )
    except StructuredOutputError as exc:
        warning = f"batch {batch.id}, attempt {attempt}: the generator's answer could not be used ({exc})"
        return {**started, "warnings": [warning]}
    return {**started, "drafts": drafts, "n_written": state.get("n_written", 0) + len(drafts)}


def label_verification(state: BatchState, adapters: Adapters) -> PartialState:
    """Check format, label, repetition and contamination of the drafts."""
    settings, accepted = state["settings"], state.get("accepted", [])
    result = verify_drafts(
        state["drafts"],
        open_assignments(state, adapters),
        task=adapters.task,
        existing=[*read_known_rows(state, adapters), *accepted],
        protected=read_protected(state, adapters),
        near_duplicate_rouge=settings.generation.near_duplicate_rouge,
        embedder=adapters.embedder,
        contamination_similarity=settings.guard.contamination_similarity,
        training=adapters.store.read_rows(state["data"].train.key, Example),
        max_label_rank=settings.quality.max_label_rank if settings.quality.enabled else None,
    )
    return {
        "drafts": [],
        "candidates": list(result.candidates),
        "rejected": [*state.get("rejected", []), *result.rejections],
        "feedback": describe_rejections(result.rejections),
    }


def quality_control(state: BatchState, adapters: Adapters) -> PartialState:
    """Have the candidates rated; accept the batch, send it back, or salvage it."""
    quality, batch, candidates = state["settings"].quality, state["batch"], state["candidates"]
    is_last = state["attempt"] > quality.max_regenerations
    probes: list[Probe] = []
    if quality.enabled:
        sources = {e.id: e for e in adapters.store.read_rows(state["data"].train.key, Example)}
        review = rate_batch(
            candidates,
            sources,
            batch=batch,
            attempt=state["attempt"],
            task=adapters.task,
            judge=adapters.judge,
            rows_per_call=quality.rows_per_call,
            probes=(probes := draw_probes(state, list(sources.values()), adapters)),
        )
        decision = decide(candidates, review, threshold=quality.threshold, is_last_attempt=is_last)
        score, found = review.score, read_probes(probes, review, threshold=quality.threshold)
    else:
        decision, score, found = accept_unreviewed(candidates), None, ()
    accepted = [*state.get("accepted", []), *decision.accepted]
    report_stage(
        "quality_control",
        adapters,
        detail=f"{batch.id}, attempt {state['attempt']}: {decision.word}",
        requested=len(batch.source_ids),
        accepted=len(accepted),
        rejected=len(state["rejected"]) + len(decision.rejected),
    )
    return {
        "candidates": [],
        "accepted": accepted,
        "ratings": [*state.get("ratings", []), *decision.ratings],
        "rejected": [*state["rejected"], *decision.rejected],
        "feedback": "\n".join(filter(None, [state["feedback"], decision.feedback])),
        "score": score,
        "decision": decision.word,
        "probes": [*state.get("probes", []), *found],
    }


def answer_verification(state: BatchState, adapters: Adapters) -> PartialState:
    """Have the judge solve what it has just passed, without the labels; what it solves otherwise goes back."""
    settings, attempt = state["settings"], state["attempt"]
    if not settings.verification.votes:
        return {}
    new = [e for e in state["accepted"] if e.provenance and e.provenance.attempt == attempt]
    solved = verify_answers(
        new,
        batch=state["batch"],
        attempt=attempt,
        task=adapters.task,
        judge=adapters.judge,
        settings=settings.verification,
        rows_per_call=settings.quality.rows_per_call,
        seed=settings.seed,
    )
    refused = {r.example.id for r in solved.rejected if r.example}
    return {
        "accepted": [e for e in state["accepted"] if e.id not in refused],
        "rejected": [*state["rejected"], *solved.rejected],
        "feedback": "\n".join(filter(None, [state["feedback"], describe_rejections(solved.rejected)])),
        "n_solved": state.get("n_solved", 0) + solved.n_solved,
    }


def draw_probes(state: BatchState, training: list[Example], adapters: Adapters) -> list[Probe]:
    """Rows of known quality for the first attempt at a batch; none for those after it, and none where nothing is rated."""
    if state["attempt"] > 1 or not state["candidates"]:
        return []
    return make_probes(
        training,
        n_rows=len(state["candidates"]),
        share=state["settings"].quality.probe_share,
        task=adapters.task,
        rng=Random(f"probes/{state['settings'].seed}/{state['batch'].id}"),
    )


def record_batch(state: BatchState, adapters: Adapters) -> PartialState:
    """Put the batch's rows into the store and its figures into the state."""
    batch, accepted, rejected, store = state["batch"], state["accepted"], state["rejected"], adapters.store
    keys = {"accepted": store.key("accepted", accepted), "rejected": store.key("rejected", rejected)}
    store.write_rows(keys["accepted"], accepted)
    store.write_rows(keys["rejected"], rejected)
    report = BatchReport(
        batch_id=batch.id,
        iteration=batch.iteration,
        branch=batch.branch,
        strategy_id=batch.strategy.strategy.id if batch.strategy else None,
        attempts=state["attempt"],
        n_requested=len(batch.source_ids),
        n_written=state.get("n_written", 0),
        n_accepted=len(accepted),
        n_rejected=dict(Counter(r.stage for r in rejected)),
        score=state["score"],
        n_solved=state.get("n_solved", 0),
        probes=tuple(state.get("probes", [])),
        decision=state["decision"],
        accepted=Ref(key=keys["accepted"], rows=len(accepted)),
        rejected=Ref(key=keys["rejected"], rows=len(rejected)),
        ratings=store_ratings(keep_ratings(accepted, state.get("ratings", [])), adapters),
        samples=tuple(f"{e.prompt} → {e.answer}"[:600] for e in accepted[:2]),
    )
    # The rows are in the store now: checkpoints need them no longer.
    return {"batches": {batch.id: report}, "accepted": [], "ratings": [], "rejected": [], "probes": []}


def store_ratings(ratings: Sequence[Rating], adapters: Adapters) -> Ref | None:
    """An object of its own: what the rows' hash and the training rows hold must not depend on what a judge said."""
    if not ratings:
        return None
    key = adapters.store.key("ratings", ratings)
    adapters.store.write_rows(key, ratings)
    return Ref(key=key, rows=len(ratings))


def open_assignments(state: BatchState, adapters: Adapters) -> list[Assignment]:
    """The rows still to be written, with their sources and what is given."""
    sources = {e.id: e for e in adapters.store.read_rows(state["data"].train.key, Example)}
    failures = {f.example.id: f for f in adapters.store.read_rows(state["plan"].training_failures.key, ScoredRow)}
    every = assign_rows(
        state["batch"],
        sources,
        failures,
        task=adapters.task,
        seed=state["settings"].seed,
        n_demonstrations=state["settings"].generation.n_demonstrations,
    )
    still_open = set(open_rows(state))
    return [a for a in every if a.row in still_open]
