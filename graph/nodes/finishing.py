"""Ends the run: measures models on test once, compares them in pairs, and publishes the summary."""

from collections.abc import Sequence
from statistics import fmean

from pada_agent.agents.guards.guard import name_rejected
from pada_agent.agents.quality_control.acceptance import explain_acceptance
from pada_agent.agents.quality_control.rating_spread import RatingSpread, spread_ratings
from pada_agent.core.progress import Progress
from pada_agent.core.records import BatchReport, Example, Rating, Ref, Rejection, ScoredRow, Usage, Verdict
from pada_agent.core.thoughts import strip_thoughts
from pada_agent.evaluation.rows.label_counts import count_labels
from pada_agent.evaluation.statistics import PairedTest, compare_paired, summarize
from pada_agent.evaluation.task import Task
from pada_agent.graph.adapters import Adapters
from pada_agent.graph.batch_rounds import read_reports
from pada_agent.graph.models import FINE_TUNED, UNTOUCHED, TrainedModel, choose_best
from pada_agent.graph.nodes.evaluating import score_jobs, score_rows, submit_rows
from pada_agent.graph.pattern_outcomes import assess_iteration, read_clusterings, read_measured
from pada_agent.graph.reporting import report_progress
from pada_agent.graph.routing import why_stop
from pada_agent.graph.state import PartialState, RunState
from pada_agent.graph.storing import put_rows
from pada_agent.graph.summarizing import Majority, SummaryInputs, summarize_run
from pada_agent.graph.summary import Comparison, Sample

N_SAMPLES = 12
"""Maximum number of accepted rows, and of rejected rows, in the summary. The store holds all of them."""


def finish(state: RunState, adapters: Adapters) -> PartialState:
    """Measure the best model and the models it is compared with on test, publish the results, and stop the worker and the engines."""
    inputs = gather_inputs(state, adapters)
    summary = summarize_run(state, inputs)
    adapters.publish(summary, adapters.store)
    report_progress(Progress(stage="finish", done=1, total=1, detail=summary.verdict))
    adapters.close()
    return {"summary": summary, "stop_reason": inputs.stop_reason}


def gather_inputs(state: RunState, adapters: Adapters) -> SummaryInputs:
    """Measure on test, compare, and read from the store what the summary says about rows, patterns and answers."""
    compared = models_to_compare(list(state["models"].values()), state["best_model"])
    tested = measure_on_test(compared, state, adapters)
    verdicts = {name: [row.verdict for row in rows] for name, rows in tested.items()}
    comparisons = compare_models(
        verdicts or validation_verdicts(compared, state, adapters), split="test" if verdicts else "selection"
    )
    measured = {name: read_measured(model, adapters) for name, model in state["models"].items()}
    usage = adapters.usage_by_batch()
    return SummaryInputs(
        test={name: summarize(v) for name, v in verdicts.items()},
        tested={name: put_rows(adapters.store, "tested", rows) for name, rows in tested.items()},
        comparisons=tuple(comparisons),
        accepted_samples=tuple(accepted_samples(state, adapters)),
        rejected_samples=tuple(rejected_samples(state, adapters)),
        usage=adapters.usage(),
        peak_memory_mb=adapters.peak_memory_mb(),
        stop_reason=state.get("stop_reason") or explain_stop(state),
        chance=average_chance(next(iter(measured.values())), adapters.task),
        majority=find_majority(next(iter(measured.values())), adapters.task),
        n_without_answer={name: sum(map(is_without_answer, rows)) for name, rows in measured.items()},
        n_cut_off={name: sum(map(is_cut_off, rows)) for name, rows in measured.items()},
        n_cut_in_thought={name: sum(map(is_cut_in_thought, rows)) for name, rows in measured.items()},
        why_unscored={name: why for name, rows in measured.items() if (why := find_why_unscored(rows))},
        ratings=read_spread(state, adapters),
        usage_of_rows=sum(usage.values(), Usage()),
        clusterings=read_clusterings(state, adapters),
        outcomes={i: assess_iteration(int(i), state, adapters, usage=usage) for i in state.get("patterns", {})},
    )


def average_chance(rows: Sequence[ScoredRow], task: Task) -> float | None:
    """Accuracy of random guessing. None if a row has an open answer."""
    chances = [task.chance(row.example) for row in rows]
    return fmean(c for c in chances if c) if all(chances) else None


def find_majority(rows: Sequence[ScoredRow], task: Task) -> Majority | None:
    """The label that most rows have. None if labels are not a closed set."""
    counts = count_labels(task, [row.example for row in rows])
    return next((Majority(label=label, share=n / len(rows)) for label, n in counts.items()), None)


def is_without_answer(row: ScoredRow) -> bool:
    """Whether the response holds no answer or could not be scored."""
    return row.verdict.value == "unscored" or row.verdict.extracted is None


def find_why_unscored(rows: Sequence[ScoredRow]) -> str:
    """Why the first response that could not be scored was not. Empty if all could be."""
    return next((row.verdict.reason for row in rows if row.verdict.value == "unscored"), "")


def is_cut_off(row: ScoredRow) -> bool:
    """Whether the response reached the token limit and is not right."""
    return row.prediction.truncated and row.verdict.value != "correct"


def is_cut_in_thought(row: ScoredRow) -> bool:
    """Whether the student used up its tokens while it was still thinking."""
    prediction = row.prediction
    return prediction.truncated and bool(prediction.response.strip()) and not strip_thoughts(prediction.response)


def read_spread(state: RunState, adapters: Adapters) -> RatingSpread:
    """The judge's ratings of all rows, accepted and rejected."""
    batches = read_reports(state.get("batches", {}).values(), adapters.store)
    refused = [r.rating for b in batches for r in adapters.store.read_rows(b.rejected.key, Rejection) if r.rating]
    return spread_ratings(accepted=[r for b in batches for r in read_ratings(b, adapters).values()], refused=refused)


def explain_stop(state: RunState) -> str:
    """Why the loop ended, if no person ended it."""
    if any(model.iteration == state["iteration"] for model in state["models"].values()):
        return why_stop(state) or "stopped"
    review = state.get("reviews", {}).get(f"data/{state['iteration']}")
    return "a person dropped all new rows" if review and review.answer.get("drop") else "no synthetic row was accepted"


def models_to_compare(models: list[TrainedModel], best: str) -> list[TrainedModel]:
    """The untouched model, the first fine-tuning, the best model, and the best augmented model if that is another one."""
    augmented = [a for a in models if a.iteration]
    names = [UNTOUCHED, FINE_TUNED, *([choose_best(augmented).name] if augmented else []), best]
    return [model for model in models if model.name in names]


def measure_on_test(models: list[TrainedModel], state: RunState, adapters: Adapters) -> dict[str, list[ScoredRow]]:
    """By model, every test row with answer and verdict, correct ones included. Empty if there are no test rows."""
    test = state["data"].test
    if test is None:
        return {}
    examples = adapters.store.read_rows(test.key, Example)
    jobs = {model.name: submit_rows(model, test, state, adapters, examples) for model in models}
    return {model.name: score_jobs(jobs[model.name], model, state, adapters, examples) for model in models}


def validation_verdicts(models: list[TrainedModel], state: RunState, adapters: Adapters) -> dict[str, list[Verdict]]:
    """By model, the verdicts on the selection part. Weaker evidence than a test set, because the best model was chosen by them."""
    data = state["data"]
    return {model.name: _verdicts(model, data.validation, state, adapters)[data.n_diagnosis :] for model in models}


def compare_models(verdicts: dict[str, list[Verdict]], *, split: str) -> list[Comparison]:
    """Paired tests between each model and all earlier ones."""
    names = list(verdicts)
    pairs = [(before, after) for i, after in enumerate(names) for before in names[:i]]
    return [
        _to_comparison(before, after, split, compare_paired(verdicts[before], verdicts[after]))
        for before, after in pairs
    ]


def accepted_samples(state: RunState, adapters: Adapters) -> list[Sample]:
    """One row per batch that has joined, up to N_SAMPLES. Rows that repeat others or that a person dropped are not shown."""
    shown, left_out = [], read_left_out(state, adapters)
    for batch, strategy in _sort_batches(state, adapters):
        rows, ratings = adapters.store.read_rows(batch.accepted.key, Example), read_ratings(batch, adapters)
        shown += [
            Sample(
                text=f"{r.prompt}\n→ {r.answer}",
                reason=explain_acceptance(ratings.get(r.id), decision=batch.decision),
                strategy=strategy,
            )
            for r in [row for row in rows if row.id not in left_out][:1]
        ]
    return shown[:N_SAMPLES]


def read_left_out(state: RunState, adapters: Adapters) -> set[str]:
    """Ids of the accepted rows that did not join."""
    refs = state.get("left_out", {}).values()
    return {i for ref in refs for r in adapters.store.read_rows(ref.key, Rejection) if (i := name_rejected(r))}


def rejected_samples(state: RunState, adapters: Adapters) -> list[Sample]:
    """One rejected row per batch, up to N_SAMPLES, with stage and reason. The reason may quote the held-out row that it is too close to."""
    shown = []
    for batch, strategy in _sort_batches(state, adapters):
        rows = adapters.store.read_rows(batch.rejected.key, Rejection)
        shown += [Sample(text=r.text, reason=f"{r.stage}: {r.reason}", strategy=strategy) for r in rows[:1]]
    return shown[:N_SAMPLES]


def read_ratings(batch: BatchReport, adapters: Adapters) -> dict[str, Rating]:
    """The judge's ratings of the batch's accepted rows, by row id."""
    rated = adapters.store.read_rows(batch.ratings.key, Rating) if batch.ratings else []
    return {rating.example_id: rating for rating in rated}


def _verdicts(model: TrainedModel, rows: Ref, state: RunState, adapters: Adapters) -> list[Verdict]:
    examples = adapters.store.read_rows(rows.key, Example)
    return [f.verdict for f in score_rows(model, rows, state, adapters, examples)]


def _sort_batches(state: RunState, adapters: Adapters) -> list[tuple[BatchReport, str | None]]:
    """The batches in the order of their ids, each with the name of its strategy."""
    names = {(i, g.strategy.id): g.strategy.strategy_name for i, gs in state.get("strategies", {}).items() for g in gs}
    batches = sorted(read_reports(state.get("batches", {}).values(), adapters.store), key=lambda b: b.batch_id)
    return [(b, names.get((str(b.iteration), b.strategy_id or ""))) for b in batches]


def _to_comparison(before: str, after: str, split: str, test: PairedTest) -> Comparison:
    values = test.model_dump()
    return Comparison(before=before, after=after, split=split, verdict=values.pop("words"), **values)
