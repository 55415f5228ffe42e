from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pada_agent.app.estimates.calls import Counts, count_rows, describe_estimate, estimate_run
from pada_agent.app.experiment.methods import apply_settings, find_method
from pada_agent.core.config import RunConfig
from pada_agent.core.config_files import parse_config
from pada_agent.core.errors import DatasetError
from tests.fakes import MemoryDatasets

COUNTS = Counts(train=100, validation=60, test=40, tokens_per_row=50)
CONFIG = parse_config(
    {
        "loop": {"max_iterations": 2},
        "lora": {"epochs": 2},
        "models": {
            "judge": {"model": "openai:m", "usd_per_million_input_tokens": 1, "usd_per_million_output_tokens": 2}
        },
    },
    origin="test",
)


def test_calls_by_role_from_smooth_to_rough() -> None:
    estimate = estimate_run(CONFIG, COUNTS)
    assert estimate.n_synthetic == 50
    assert estimate.low["analyst"].n_calls == 2 * (6 + 10 + 1)
    assert estimate.low["generator"].n_calls == 2 * (5 + 5)
    assert estimate.high["generator"].n_calls == 2 * 4 * (10 + 5), "25 rows for ten patterns, 25 from errors"
    assert (estimate.low["judge"].n_calls, estimate.high["judge"].n_calls) == (40, 240), "answered, then rated"
    n_shown = 2 * 4 * 50
    tokens = 240 * 500 + n_shown * (1 + 2) * 50, n_shown * 2 * 80
    assert (estimate.high["judge"].input_tokens, estimate.high["judge"].output_tokens) == tokens
    assert estimate.high["judge"].cost_usd == (tokens[0] * 1 + tokens[1] * 2) / 1e6


def test_the_judges_calls_for_single_rows_known_rows_and_solving() -> None:
    quality = CONFIG.quality.model_copy(update={"rows_per_call": 1})
    verification = CONFIG.verification.model_copy(update={"votes": 3, "share": 0.5})
    estimate = estimate_run(CONFIG.model_copy(update={"quality": quality, "verification": verification}), COUNTS)
    assert estimate.low["judge"].n_calls == 2 * (50 + 5 + 3 * 25)
    assert estimate.high["judge"].n_calls == 2 * (4 * 50 + 5 + 4 * 3 * 25)


def test_a_method_is_not_charged_for_what_it_does_not_ask() -> None:
    oracle = apply_settings(CONFIG, find_method("oracle").settings, origin="test")
    assert {role: usage.n_calls for role, usage in estimate_run(oracle, COUNTS).high.items()} == {
        "analyst": 0,
        "generator": 0,
        "judge": 0,
    }
    beside = estimate_run(apply_settings(CONFIG, {"generation.sources": "held_back"}, origin="test"), COUNTS).low
    assert beside["generator"].n_calls == 2 * 5, "real rows take the place of those from errors alone"
    rephrasing = apply_settings(CONFIG, find_method("auggpt").settings, origin="test")
    low = estimate_run(rephrasing, COUNTS).low
    assert (low["analyst"].n_calls, low["generator"].n_calls, low["judge"].n_calls) == (0, 100, 0), "one row a call"


@pytest.mark.parametrize(
    ("task", "settings", "is_asked"),
    [
        ("sql", {"generation.reword": False}, False),
        ("sql", {}, True),
        ("sql", {"generation.reword": False, "generation.vary_answers": False}, True),
        ("exact_match", {"generation.reword": False}, True),
    ],
)
def test_rows_made_by_code_cost_no_calls_unless_they_are_sent_back(
    task: str, settings: dict[str, Any], is_asked: bool
) -> None:
    plain = apply_settings(CONFIG, {"task.name": task}, origin="test")
    estimate = estimate_run(apply_settings(plain, settings, origin="test"), COUNTS)
    n_least, n_most = estimate.low["generator"].n_calls, estimate.high["generator"].n_calls
    assert (n_least, n_most) == ((20, 120) if is_asked else (0, 90))


@pytest.mark.parametrize(
    ("settings", "n_least", "n_most"),
    [
        ({}, 20 + 2 * 50 * 2, 120 + 2 * 50 * 3),
        ({"generation.solved_share": 0.5, "generation.solver_votes": 5}, 20 + 2 * 25 * 3, 120 + 2 * 25 * 5),
        ({"generation.solver_votes": 1, "generation.reword": False}, 20 + 2 * 50, 120 + 2 * 50),
        ({"task.name": "exact_match"}, 20, 120),
    ],
)
def test_questions_that_are_written_alone_cost_a_call_for_each_vote(
    settings: dict[str, Any], n_least: int, n_most: int
) -> None:
    changed = {"task.name": "sql", "generation.solved_share": 1, **settings}
    estimate = estimate_run(apply_settings(CONFIG, changed, origin="test"), COUNTS)
    assert (estimate.low["generator"].n_calls, estimate.high["generator"].n_calls) == (n_least, n_most)


def test_with_batches_of_the_provider_each_vote_waits_for_one() -> None:
    batched = {"task.name": "sql", "models.generator.model": "openai:m", "models.generator.economy": "batch"}
    plain, solved = (
        estimate_run(apply_settings(CONFIG, {**batched, "generation.solved_share": share}, origin="test"), COUNTS)
        for share in (0, 0.5)
    )
    attempts = CONFIG.quality.max_attempts
    assert plain.n_batches == (2 * 1, 2 * attempts) and solved.n_batches == (2 * (1 + 2), 2 * attempts * (1 + 3))


def test_the_students_work() -> None:
    estimate = estimate_run(CONFIG, COUNTS)
    assert estimate.training_sequences == 2 * (3 * 100 + (1 + 2) * 50)
    assert estimate.predictions == 4 * 60 + 2 * 100 + 3 * 40


def test_the_judge_is_asked_about_every_answer_where_it_decides_on_them() -> None:
    """Validation by four models, training rows by two and once in folds, test by three."""
    plain, judged = (
        estimate_run(apply_settings(CONFIG, {"task.name": name}, origin="test"), COUNTS)
        for name in ("exact_match", "judge")
    )
    n = 4 * 60 + 2 * 100 + 3 * 40
    assert judged.low["judge"].n_calls == plain.low["judge"].n_calls + n
    assert judged.high["judge"].n_calls == plain.high["judge"].n_calls + n + 100
    assert judged.predictions == judged.n_judged == n + 100
    added = judged.low["judge"].cost_usd - plain.low["judge"].cost_usd
    assert added == pytest.approx(n * ((500 + 2 * 50) * 1 + 80 * 2) / 1e6)


def test_real_rows_cost_no_calls_but_the_judges_verdicts() -> None:
    oracle = apply_settings(CONFIG, {**find_method("oracle").settings, "task.name": "judge"}, origin="test")
    spare = COUNTS.model_copy(update={"spare": 9})
    assert estimate_run(oracle, spare).high["judge"].n_calls == 4 * 60 + 3 * 40
    text = describe_estimate(estimate_run(oracle, spare))
    assert "Up to 360 of the judge's calls rate the student's answers" in text
    assert "asks no LLM but the judge, about the student's answers: if" in text
    plain = describe_estimate(estimate_run(CONFIG, spare))
    assert "makes no LLM calls: if" in plain and "rate the student's answers" not in plain


def test_answers_of_a_large_split_need_several_batches_of_verdicts() -> None:
    config = apply_settings(economical(judge="batch"), {"task.name": "judge", "loop.max_iterations": 0}, origin="test")
    counts = COUNTS.model_copy(update={"validation": 300, "test": 256})
    assert estimate_run(config, counts).n_batches == (2 * 2 + 2 * 1,) * 2


@pytest.mark.parametrize(
    ("n_top_ups", "told"),
    [
        (
            3,
            "Not counted: top-up rounds for rejected rows (up to 3 in each iteration: generation.max_top_ups), and calls",
        ),
        (0, "Not counted: calls repeated because a reply could not be read."),
    ],
)
def test_what_no_figure_includes_is_said(n_top_ups: int, told: str) -> None:
    config = apply_settings(economical(judge="batch"), {"generation.max_top_ups": n_top_ups}, origin="test")
    text = describe_estimate(estimate_run(config, COUNTS))
    assert told in text
    assert ("without top-up rounds" in text) == (n_top_ups > 0)


def test_in_words() -> None:
    text = describe_estimate(estimate_run(CONFIG, COUNTS))
    assert "generator: 20 to 120 calls" in text
    assert "judge: 40 to 240 calls, 35,000 to 180,000 tokens in, 16,000 to 64,000 out, $0.07 to 0.31" in text


def economical(**economy: str) -> RunConfig:
    models = CONFIG.models
    changes = {role: getattr(models, role).model_copy(update={"economy": how}) for role, how in economy.items()}
    return CONFIG.model_copy(update={"models": models.model_copy(update=changes)})


@pytest.mark.parametrize("economy", ["flex", "batch"])
def test_economy_is_half_the_price(economy: str) -> None:
    full, half = estimate_run(CONFIG, COUNTS), estimate_run(economical(judge=economy), COUNTS)
    assert half.high["judge"].cost_usd == full.high["judge"].cost_usd / 2
    assert half.high["judge"].input_tokens == full.high["judge"].input_tokens


@pytest.mark.parametrize(
    ("economy", "low", "high"),
    [
        ({}, 0, 0),
        ({"judge": "flex"}, 0, 0),
        ({"analyst": "batch"}, 6, 6),
        ({"generator": "batch"}, 2, 8),
        ({"judge": "batch"}, 4, 16),
        ({"analyst": "batch", "generator": "batch", "judge": "batch"}, 12, 30),
    ],
)
def test_batches_that_wait_for_one_another(economy: dict[str, str], low: int, high: int) -> None:
    """Two iterations, and up to four attempts at a row: written, answered by the judge, rated."""
    estimate = estimate_run(economical(**economy), COUNTS)
    assert estimate.n_batches == (low, high)
    assert (f"the run waits up to {high} days without top-up rounds." in describe_estimate(estimate)) == (high > 0)


@pytest.mark.parametrize(("votes", "low", "high"), [(0, 0, 0), (3, 2, 8)])
def test_the_judge_is_waited_for_once_where_it_only_answers(votes: int, low: int, high: int) -> None:
    config = economical(judge="batch")
    quality = config.quality.model_copy(update={"enabled": False})
    verification = config.verification.model_copy(update={"votes": votes})
    config = config.model_copy(update={"quality": quality, "verification": verification})
    assert estimate_run(config, COUNTS).n_batches == (low, high)


Rows = list[dict[str, Any]]


def ask(split: str, n: int, **fields: Any) -> Rows:
    return [{"question": f"{split} {i}", "answer": str(i), **fields} for i in range(n)]


def count(train: Rows, validation: Rows, *, task: dict[str, Any] | None = None, **data: Any) -> Counts:
    settings = {"train": "memory:train", "validation": "memory:validation", **data}
    config = parse_config({"task": {"name": "exact_match", **(task or {})}, "data": settings}, origin="test")
    return count_rows(config, MemoryDatasets({"train": train, "validation": validation}))


def test_rows_are_counted_within_their_limits() -> None:
    counts = count(ask("x" * 40, 5), ask("y", 4), train_limit=3)
    assert (counts.train, counts.validation, counts.test) == (3, 4, 0)
    assert counts.tokens_per_row == 19, '75 characters: {"question": "x…x 0", "answer": "0"}'


def test_a_chinese_row_takes_more_tokens_than_an_english_one_of_as_many_characters() -> None:
    english, chinese = count(ask("x" * 40, 5), ask("y", 4)), count(ask("银" * 40, 5), ask("y", 4))
    assert chinese.tokens_per_row == english.tokens_per_row + 20


def test_rows_are_counted_and_measured_as_a_run_reads_them() -> None:
    train, validation = ask("train", 10), ask("validation", 4)
    plain = count(train, validation)
    assert count([*train, *train[:6]], validation) == plain, "repeated rows are dropped"
    assert count([*train, {"question": "no answer?"}], validation) == plain, "a run would refuse the row"
    assert count(ask("train", 10, embedding=[0.1] * 400), validation) == plain, "nobody reads this column"
    both = [*train, *[{**row, "answer": "other"} for row in validation]]
    assert count(both, validation, on_overlap="drop") == plain


def test_every_answer_of_a_conversation_is_a_row() -> None:
    said = [{"role": role, "content": f"{role} {i}"} for i in range(6) for role in ("user", "assistant")]
    counts = [count([{"messages": said}], ask("v", 4), task={"turns": turns}) for turns in ("last", "all")]
    assert [found.train for found in counts] == [1, 6]
    assert counts[1].tokens_per_row < counts[0].tokens_per_row


def test_rows_for_a_judge_are_counted_without_it() -> None:
    assert count(ask("t", 3), ask("v", 4), task={"name": "judge"}).train == 3


def test_rows_that_cannot_be_read_at_all_are_refused() -> None:
    with pytest.raises(DatasetError, match=r"memory:train:1: field 'question' is missing"):
        count([{"q": "x"}], ask("v", 4))


@pytest.mark.parametrize(
    ("data", "n_spare"),
    [({"train_limit": 4}, 2), ({"train_limit": 5}, 1), ({}, 0), ({"held_back": "memory:held"}, 3)],
)
def test_a_look_at_the_headroom_is_offered_where_real_rows_are_to_spare(data: dict[str, Any], n_spare: int) -> None:
    memory = {"train": ask("x", 6), "validation": ask("y", 4), "held": ask("z", 9)}
    data = {"train": "memory:train", "validation": "memory:validation", **data}
    config = parse_config({"task": {"name": "exact_match"}, "data": data}, origin="test")
    counts = count_rows(config, MemoryDatasets(memory))
    assert counts.spare == n_spare
    assert ("--arm oracle" in describe_estimate(estimate_run(config, counts))) == (n_spare > 0)


def test_demonstrations_are_counted_as_far_as_there_are_such_rows() -> None:
    def count_tokens(n: int, **labels: str) -> int:
        changes = {"generation.n_demonstrations": n, "task.labels": labels}
        return estimate_run(apply_settings(CONFIG, changes, origin="test"), COUNTS).low["generator"].input_tokens

    tokens = [count_tokens(n, a="", b="") for n in (0, 3, 50, 100_000)]
    assert tokens == [15_000, 15_000 + 20 * 100, 15_000 + 20 * 1275, 15_000 + 20 * 1275]
    assert count_tokens(100_000) == 15_000, "without labels, none are shown"


def test_as_many_rows_are_diagnosed_as_in_a_run() -> None:
    config = apply_settings(CONFIG, {"data.selection_fraction": 0.999}, origin="test")
    assert estimate_run(config, COUNTS).low["analyst"].n_calls == 2 * (1 + 1 + 1)


@given(st.integers(1, 3000), st.integers(2, 1000), st.integers(1, 500))
def test_low_is_never_above_high(train: int, validation: int, tokens: int) -> None:
    estimate = estimate_run(RunConfig(), Counts(train=train, validation=validation, test=0, tokens_per_row=tokens))
    for role, low in estimate.low.items():
        assert low.n_calls <= estimate.high[role].n_calls
        assert low.input_tokens <= estimate.high[role].input_tokens
