"""Estimates what a run may cost before it starts: calls and tokens by role, and the student's work."""

import json
import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

from pada_agent.app.estimates.writing import Writing, count_solver_calls, count_writer_calls, find_solved_share
from pada_agent.app.runs.rows_alone import make_task_alone
from pada_agent.app.text import dollars
from pada_agent.core.concurrency import MAX_WORKERS
from pada_agent.core.config import ModelConfig, RunConfig
from pada_agent.core.model_config import ECONOMY_PRICE
from pada_agent.core.ports import DatasetSource
from pada_agent.core.recipes import find_recipe
from pada_agent.core.records import Example, Record, Usage
from pada_agent.evaluation.task import Task
from pada_agent.evaluation.tasks.registry import find_task_kind
from pada_agent.graph.data_check import check_run_data, refuse

RANGE = (
    "from few patterns and every batch accepted at once to many patterns and every batch rewritten as often as allowed"
)
"""Between what the figures lie."""
BYTES_PER_TOKEN = 4
BATCH_HOURS = 24
"""Time within which OpenAI and Anthropic promise to finish a batch."""
PROMPT_TOKENS = 500
"""Tokens of one call's instructions and schema. A round figure."""
VERDICT_TOKENS = 80
"""Tokens of the judge's verdict on one answer, with its reason. A round figure."""
FORM_TOKENS = 80
"""Tokens of an earlier turn, besides its rows. A round figure."""


class Counts(Record):
    """Number of rows by split."""

    train: int
    validation: int
    test: int
    tokens_per_row: int
    """Mean length of a training row as the teacher sees it, in tokens."""
    spare: int = 0
    """Number of real rows that the settings leave over, up to one augmentation round's worth. They could measure the headroom."""


class Estimate(Record):
    """A range: `low` if every batch passes at once and errors have few patterns and labels, `high` if every batch uses all its regenerations and
    they have many.

    Neither includes top-up rounds, or calls that are repeated because a reply could not be read.
    """

    counts: Counts
    n_synthetic: int
    """Number of rows to request in each iteration."""
    low: dict[str, Usage]
    """LLM usage by role, without regenerations."""
    high: dict[str, Usage]
    """LLM usage by role, with all regenerations."""
    n_batches: tuple[int, int]
    """Low and high number of provider batches that wait for one another. Zeros without `economy: batch`."""
    training_sequences: int
    """Number of sequences over all fine-tunings, counting epochs."""
    predictions: int
    """Number of rows that the student answers, at most."""
    n_judged: int = 0
    """Number of those answers that the judge rates, one call each. Zero if the task does not ask it."""
    n_top_ups: int = 0
    """Number of rounds, in each iteration, that may replace rejected rows. They are not counted."""


def count_rows(config: RunConfig, datasets: DatasetSource) -> Counts:
    """Read the splits as a run does, and count their rows. Rows that cannot be read are left out: `pada check` names them.

    Raises:
        ConfigError: there is no such task.
        DatasetError: nothing of a split can be read.
    """
    task = make_task_alone(config)
    checked = check_run_data(config, {}, datasets=datasets, task=task)
    rows = {str(name): file.examples for name, file in checked.files.items()}
    if not all(rows.get(name) for name in ("train", "validation", *(["test"] if config.data.test else []))):
        refuse(checked.findings)
    return Counts(
        train=len(rows["train"]),
        validation=len(rows["validation"]),
        test=len(rows.get("test", ())),
        tokens_per_row=_measure_tokens(rows["train"], task),
        spare=_count_spare(config, len(rows["train"]), datasets),
    )


def estimate_run(config: RunConfig, counts: Counts) -> Estimate:
    """Assumes that all `max_iterations` iterations run, none stops early, and the student makes enough errors."""
    n_synthetic = config.generation.count_rows(counts.train)
    n_folds = count_folds(config)
    n_attempts = config.quality.max_attempts
    few, all_rated = (_list_judged(config, counts, n_folds=n) for n in (n_folds * _needs_folds(config), n_folds))
    writes = config.loop.max_iterations > 0 and count_writing(config, n_synthetic) > 0
    return Estimate(
        counts=counts,
        n_synthetic=n_synthetic,
        low=_count_calls(config, counts, n_synthetic, attempts=1, judged=few, most=False),
        high=_count_calls(config, counts, n_synthetic, attempts=n_attempts, judged=all_rated, most=True),
        n_batches=(
            _count_batches(config, counts, n_synthetic, attempts=1, judged=few, most=False),
            _count_batches(config, counts, n_synthetic, attempts=n_attempts, judged=all_rated, most=True),
        ),
        training_sequences=_count_sequences(config, counts, n_synthetic),
        predictions=sum(list_evaluations(config, counts, n_folds=n_folds)),
        n_judged=sum(all_rated),
        n_top_ups=config.generation.max_top_ups * writes,
    )


def list_evaluations(config: RunConfig, counts: Counts, *, n_folds: int) -> list[int]:
    """Number of rows of each evaluation of the student.

    Args:
        n_folds: number of students fine-tuned for out-of-fold errors, each of which answers its own part of the training rows.
    """
    n_iterations = config.loop.max_iterations
    trained: list[int] = []
    if n_iterations and config.generation.reads_training_errors:
        ends = [counts.train * i // n_folds for i in range(n_folds + 1)] if n_folds else []
        trained = [counts.train] * n_iterations + [b - a for a, b in pairwise(ends)]
    tests = [counts.test] * (2 + (n_iterations > 0)) if counts.test else []
    return [counts.validation] * (2 + n_iterations) + trained + tests


def offers_choices(config: RunConfig) -> bool:
    """Whether the student chooses among options."""
    return find_task_kind(config.task.name).offers_options or bool(config.task.labels)


def asks_writer(config: RunConfig) -> bool:
    """Whether the first attempt at a row costs a call: not if code makes answer and question, and the writer does not reword it."""
    generation = config.generation
    is_made = generation.vary_answers and find_task_kind(config.task.name).makes_answers
    return generation.reword or find_solved_share(config) > 0 or not is_made


def count_folds(config: RunConfig) -> int:
    """Number of fine-tunings for out-of-fold errors, at most: `auto` needs them if the student writes its answers and has learned its rows."""
    generation = config.generation
    is_possible = _needs_folds(config) or (generation.error_source == "auto" and not offers_choices(config))
    return generation.error_folds if is_possible and generation.error_folds > 1 else 0


def asks_judge(config: RunConfig) -> bool:
    """Whether the judge decides if the student's answers are right."""
    return find_task_kind(config.task.name).asks_judge


def judge_answers(config: RunConfig, n: int, *, row_tokens: int) -> Usage:
    """The judge's use for `n` answers of the student: each is shown with its question and the right answer."""
    return _usage(config.models.judge, n, 2 * row_tokens, VERDICT_TOKENS)


def count_analyses(config: RunConfig, counts: Counts) -> tuple[int, int]:
    """Number of calls in which an iteration's errors are analyzed, and in which their patterns are named. A last one drafts strategies."""
    n_errors = _count_errors(config, counts)
    return math.ceil(n_errors / config.analysis.errors_per_call), min(config.analysis.max_clusters, n_errors)


def count_writing(config: RunConfig, n_synthetic: int) -> int:
    """Number of calls in which an iteration's rows are written, each once, if every call were full: what `Rates.attempts` is a multiple of."""
    generation = config.generation
    return math.ceil(round(n_synthetic * generation.written_share) / generation.rows_per_call)


def count_voting(config: RunConfig, n_synthetic: int) -> int:
    """Number of calls in which the writer answers its own questions in an iteration, if the first answers agree."""
    return count_solver_calls(config, round(n_synthetic * config.generation.written_share), most=False)


def count_judging(config: RunConfig, n_synthetic: int, *, attempts: int = 1) -> tuple[int, int]:
    """Number of calls in which the judge answers an iteration's rows itself, and in which it rates them."""
    quality, verification = config.quality, config.verification
    size = quality.rows_per_call or config.generation.rows_per_call
    n_probes = math.ceil(n_synthetic * quality.probe_share) if quality.rows_per_call else 0
    n_rated = (math.ceil(n_synthetic / size) * attempts + math.ceil(n_probes / size)) * quality.enabled
    n_chunks = math.ceil(n_synthetic * verification.share / (verification.rows_per_call or size))
    return n_chunks * _count_votes(config) * attempts, n_rated


def describe_estimate(estimate: Estimate) -> str:
    """The estimate as text for a terminal."""
    c = estimate.counts
    lines = [
        f"Rows: {c.train} training, {c.validation} validation, {c.test} test; about {c.tokens_per_row} tokens each.",
        f"Synthetic rows to request in each iteration: {estimate.n_synthetic}",
        f"Student: {estimate.training_sequences:,} sequences trained, {estimate.predictions:,} predicted, at most.",
        f"LLM use, {RANGE}:",
        *describe_use([estimate.low], [estimate.high]),
        *describe_rest([estimate]),
        *([_describe_wait(estimate)] if estimate.n_batches[1] else []),
        f"These are rough figures: {BYTES_PER_TOKEN} bytes count as a token, and the instructions of a call as {PROMPT_TOKENS} tokens.",
        *([_offer_headroom(c.spare, is_judged=estimate.n_judged > 0)] if c.spare else []),
    ]
    return "\n".join(lines)


def describe_use(low: Sequence[Mapping[str, Usage]], high: Sequence[Mapping[str, Usage]]) -> list[str]:
    """One line for each role, summed over runs."""
    total = [{role: sum((run[role] for run in runs), Usage()) for role in runs[0]} for runs in (low, high)]
    return [f"  {role}: {_describe_range(total[0][role], total[1][role])}" for role in total[0]]


def describe_rest(estimates: Sequence[Estimate]) -> list[str]:
    """Lines on how many calls rate the student's answers, and on what the figures of LLM use leave out."""
    lines = []
    if n_judged := sum(estimate.n_judged for estimate in estimates):
        lines.append(f"Up to {n_judged:,} of the judge's calls rate the student's answers, one call each.")
    if any(usage.n_calls for estimate in estimates for usage in estimate.high.values()):
        n_top_ups = max(estimate.n_top_ups for estimate in estimates)
        rounds = f"top-up rounds for rejected rows (up to {n_top_ups} in each iteration: generation.max_top_ups), and "
        lines.append(f"Not counted: {rounds if n_top_ups else ''}calls repeated because a reply could not be read.")
    return lines


def _describe_wait(estimate: Estimate) -> str:
    low, high = estimate.n_batches
    count = f"{low}" if low == high else f"{low} to {high}"
    return (
        f"Batches: {count}, each is sent when the previous one has ended. The provider promises each within {BATCH_HOURS} hours, so the"
        f" run waits up to {high} {'day' if high == 1 else 'days'}{' without top-up rounds' if estimate.n_top_ups else ''}."
        " Half the price is counted."
    )


def _offer_headroom(n_spare: int, *, is_judged: bool) -> str:
    asks = "asks no LLM but the judge, about the student's answers" if is_judged else "makes no LLM calls"
    return (
        f"Headroom: {n_spare} real rows are left over. `pada run CONFIG --arm oracle --set name=oracle` trains on them instead"
        f" of synthetic rows and {asks}: if they do not help, no method can be expected to."
    )


def _count_spare(config: RunConfig, n_train: int, datasets: DatasetSource) -> int:
    data, n_wanted = config.data, config.generation.count_rows(n_train)
    if data.held_back:
        return min(n_wanted, len(datasets.read(data.held_back, limit=max(n_wanted, 1))))
    if data.train_limit is None:
        return 0
    return max(0, len(datasets.read(data.train, limit=data.train_limit + n_wanted)) - data.train_limit)


def _measure_tokens(rows: Sequence[Example], task: Task) -> int:
    shown = [{name: text for name, text in task.show(row).items() if text} for row in rows]
    n_bytes = sum(len(json.dumps(fields, ensure_ascii=False).encode("utf-8", "replace")) for fields in shown)
    return math.ceil(n_bytes / len(rows) / BYTES_PER_TOKEN)


def _needs_folds(config: RunConfig) -> bool:
    return config.generation.error_source == "out_of_fold"


def _list_judged(config: RunConfig, counts: Counts, *, n_folds: int) -> list[int]:
    """Number of answers in each evaluation that the judge decides on."""
    return list_evaluations(config, counts, n_folds=n_folds) if asks_judge(config) else []


def _count_calls(
    config: RunConfig, counts: Counts, n_synthetic: int, *, attempts: int, judged: Sequence[int], most: bool
) -> dict[str, Usage]:
    row = counts.tokens_per_row
    analysis, n_iterations = config.analysis, config.loop.max_iterations
    n_errors = _count_errors(config, counts)
    analyses, clusters = count_analyses(config, counts)
    written = count_writer_calls(
        config, n_synthetic, n_train=counts.train, n_errors=n_errors, row_tokens=row, most=most
    )
    each = row * written.n_rows / max(written.n_calls, 1)
    analyst = (
        _usage(config.models.analyst, analyses, analysis.errors_per_call * 2 * row, analysis.errors_per_call * 80),
        _usage(config.models.analyst, clusters, math.ceil(n_errors / max(clusters, 1)) * (2 * row + 80), 200),
        _usage(config.models.analyst, min(clusters, 1), clusters * 150, clusters * 200),
    )
    one = {
        "analyst": sum(analyst, Usage()),
        "generator": _usage(
            config.models.generator,
            written.n_calls * (attempts if asks_writer(config) else attempts - 1),
            each + _count_real(config, counts),
            each,
        )
        + _usage(
            config.models.generator,
            count_solver_calls(config, written.n_rows, most=most),
            (config.generation.solver_examples + 1) * row,
            row,
        ),
        "judge": _count_judging(config, written, row_tokens=row, attempts=attempts),
    }
    total = {role: sum([usage] * n_iterations, Usage()) for role, usage in one.items()}
    return {**total, "judge": total["judge"] + judge_answers(config, sum(judged), row_tokens=row)}


def _count_real(config: RunConfig, counts: Counts) -> int:
    """Tokens of the real rows that a call shows besides its sources, averaged over both branches: demonstrations in the prompt
    (`generation.n_demonstrations`), or earlier turns in place of them (`generation.n_shown_labels`). Closed label sets only.
    """
    generation, labels = config.generation, config.task.labels
    if not labels:
        return 0
    n_alike = math.ceil(counts.train / len(labels))
    if not generation.n_shown_labels:
        n_each = min(generation.n_demonstrations, n_alike)
        return round(
            generation.pattern_share * (n_each + bool(n_each)) * counts.tokens_per_row
        )  # one is of another label
    turn = FORM_TOKENS + min(max(1, generation.n_demonstrations), n_alike) * counts.tokens_per_row
    share = 1.0 if find_recipe(generation.template).goes_on else generation.pattern_share
    n_turns = min(generation.n_shown_labels, len(labels) - 1) + 1
    return round(share * n_turns * turn)


def _count_errors(config: RunConfig, counts: Counts) -> int:
    n_diagnosed = counts.validation - config.data.count_selection(counts.validation)
    return min(config.analysis.max_errors, n_diagnosed) if config.generation.pattern_share > 0 else 0


def _count_batches(
    config: RunConfig, counts: Counts, n_synthetic: int, *, attempts: int, judged: Sequence[int], most: bool
) -> int:
    """Analyses, categories and strategies; then, for each attempt, the rows, the votes on them, the judge's answers, and its ratings.
    Besides, the judge's verdicts on each evaluation of the student, as far as they are asked for at the same time.
    """
    one = _count_calls(config, counts, n_synthetic, attempts=1, judged=(), most=False)
    verdicts = sum(math.ceil(n / MAX_WORKERS) for n in judged) if config.models.judge.economy == "batch" else 0
    written = attempts * (1 + count_solver_calls(config, 1, most=most))
    steps = {"analyst": 3, "generator": written, "judge": attempts * _count_judgements(config)}
    return verdicts + config.loop.max_iterations * sum(
        n for role, n in steps.items() if getattr(config.models, role).economy == "batch" and one[role].n_calls
    )


def _count_judgements(config: RunConfig) -> int:
    """How often the judge is asked about a written row, in successive calls."""
    return bool(_count_votes(config) and config.verification.share) + config.quality.enabled


def _count_judging(config: RunConfig, written: Writing, *, row_tokens: int, attempts: int) -> Usage:
    """Ratings (including rows of known quality, if each costs a call) and independent solving. Each batch of rows is judged by itself."""
    quality, verification, n_rows = config.quality, config.verification, written.n_rows
    n_probes = math.ceil(n_rows * quality.probe_share) if quality.rows_per_call else 0
    n_rated = (_count_chunks(written, n_rows, quality.rows_per_call) * attempts) * quality.enabled
    n_known = math.ceil(n_probes / (quality.rows_per_call or 1)) * quality.enabled
    n_votes = _count_votes(config) * attempts
    n_solved = math.ceil(n_rows * verification.share)
    n_chunks = _count_chunks(written, n_solved, verification.rows_per_call or quality.rows_per_call)
    judge, rated, solved = config.models.judge, n_rows / max(n_rated / attempts, 1), n_solved / max(n_chunks, 1)
    return (
        _usage(judge, n_rated, rated * 2 * row_tokens, rated * 80)
        + _usage(judge, n_known, n_probes / max(n_known, 1) * 2 * row_tokens, n_probes / max(n_known, 1) * 80)
        + _usage(judge, n_chunks * n_votes, solved * row_tokens, solved * 80)
    )


def _count_chunks(written: Writing, n_rows: int, size: int | None) -> int:
    """Number of calls that show the judge so many of the rows, at most `size` of a batch at once. None: whole batches."""
    n_batches = min(written.n_calls, n_rows)
    return max(n_batches, math.ceil(n_rows / size)) if size else n_batches


def _count_votes(config: RunConfig) -> int:
    """Times each written row is answered by the judge itself."""
    return config.verification.votes_for(is_choice=offers_choices(config)) if config.solves_rows else 0


def _usage(model: ModelConfig, n_calls: int, row_tokens: float, output_tokens: float) -> Usage:
    """`n_calls` calls, each with the instructions and `row_tokens` as input, on average."""
    n_in = round(n_calls * (PROMPT_TOKENS + row_tokens))
    n_out = round(n_calls * min(output_tokens, model.max_output_tokens))
    cost = (n_in * model.usd_per_million_input_tokens + n_out * model.usd_per_million_output_tokens) / 1e6
    cost *= ECONOMY_PRICE if model.economy else 1
    return Usage(n_calls=n_calls, input_tokens=n_in, output_tokens=n_out, cost_usd=cost)


def _count_sequences(config: RunConfig, counts: Counts, n_synthetic: int) -> int:
    n = config.loop.max_iterations
    added = n * (n + 1) // 2 if config.generation.accumulate else n
    n_folds = count_folds(config) if n and config.generation.reads_training_errors else 0
    n_whole = n + 1 + max(0, n_folds - 1)  # every fold leaves its own part out
    if config.lora.n_steps is not None:
        return n_whole * config.lora.n_steps * config.lora.batch_size
    n_own = counts.train + config.n_definitions
    return round(config.lora.epochs * (n_whole * n_own + added * n_synthetic))


def _describe_range(low: Usage, high: Usage) -> str:
    def span(a: float, b: float, form: str = ",.0f") -> str:
        return f"{a:{form}}" if a == b else f"{a:{form}} to {b:{form}}"

    text = f"{span(low.n_calls, high.n_calls)} calls, {span(low.input_tokens, high.input_tokens)} tokens in"
    text += f", {span(low.output_tokens, high.output_tokens)} out"
    if high.cost_usd < 0.005:
        return f"{text}, {dollars(high.cost_usd)}" if high.cost_usd else text
    return f"{text}, ${span(low.cost_usd, high.cost_usd, ',.2f')}"
