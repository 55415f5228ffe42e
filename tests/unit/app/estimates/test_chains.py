"""What the graph does, as steps: against the graph's own jobs, and against each other."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from pada_agent.app.estimates.calls import Counts
from pada_agent.app.estimates.chains import RunChain, find_limits
from pada_agent.app.estimates.rates import Rates
from pada_agent.app.estimates.simulation import Calls, DriverWork, Limits, Step, StudentJob, Together
from pada_agent.app.experiment.methods import apply_settings, find_method
from pada_agent.core.config import RunConfig

COUNTS = Counts(train=100, validation=60, test=40, tokens_per_row=50)
RATES = Rates(
    train_row_seconds=0.1,
    predict_row_seconds=0.01,
    load_seconds=9,
    call_seconds={"analyst": 3, "generator": 5, "judge": 7},
    attempts=2,
    start_seconds=1,
    iteration_seconds=2,
    source="here",
)
CONFIG = RunConfig.model_validate(
    {"lora": {"epochs": 2}, "loop": {"max_iterations": 2}, "task": {"labels": ["a", "b"]}}
)


def change(config: RunConfig = CONFIG, **settings: Any) -> RunConfig:
    return apply_settings(config, {k.replace("__", "."): v for k, v in settings.items()}, origin="test")


def flatten(steps: Any) -> Iterator[Step]:
    for step in steps:
        if isinstance(step, Together):
            for chain in step.chains:
                yield from flatten(chain)
        else:
            yield step


def steps_of(config: RunConfig, counts: Counts = COUNTS) -> list[Step]:
    return list(flatten(RunChain(config, counts, RATES).steps()))


def jobs_of(config: RunConfig, counts: Counts = COUNTS) -> Mapping[str, float]:
    return {s.key: s.seconds for s in steps_of(config, counts) if isinstance(s, StudentJob)}


def calls_of(config: RunConfig) -> list[tuple[int, float, int]]:
    return [(s.n, s.seconds, s.width) for s in steps_of(config) if isinstance(s, Calls)]


def test_the_jobs_of_a_run() -> None:
    """Three fine-tunings; validation by four models, training rows by two, test by three."""
    found = [s for s in steps_of(CONFIG) if isinstance(s, StudentJob)]
    trained = [s.seconds for s in found if s.seconds >= 20]
    assert trained == pytest.approx([2 * 100 * 0.1, 2 * 150 * 0.1, 2 * 200 * 0.1])
    answered = [s.seconds for s in found if s.seconds < 20]
    assert answered == pytest.approx([0.6, 0.6, 1.0, 0.6, 1.0, 0.6, 0.4, 0.4, 0.4])
    assert len({s.key for s in found}) == len(found)
    assert [s.seconds for s in steps_of(CONFIG) if isinstance(s, DriverWork)] == [1, 2, 2]


def test_a_fixed_number_of_steps_is_as_many_rows() -> None:
    config = change(lora__n_steps=50, lora__batch_size=4, generation__accumulate=False)
    assert [s.seconds for s in steps_of(config) if isinstance(s, StudentJob) and s.seconds >= 20] == [20.0] * 3


def test_the_calls_of_an_iteration() -> None:
    """Six analyses, ten patterns and one for all strategies; then both branches write ten batches twice, which are answered and rated."""
    config = change(loop__max_iterations=1, models__judge__max_concurrency=3)
    assert calls_of(config) == [(6, 3, 6), (10, 3, 8), (1, 3, 1), *[(10, 5, 5), (10, 7, 3), (10, 7, 3)] * 2]


def test_the_votes_of_a_writer_are_calls_of_an_iteration() -> None:
    """Half of 50 rows in two branches, each answered twice, if no answer is another; each row is written twice."""
    config = change(task__name="sql", task__labels=[], loop__max_iterations=1, generation__solved_share=0.5)
    voted = [s for s in steps_of(config) if isinstance(s, Calls) and s.key.endswith("voted on")]
    assert [(s.n, s.seconds) for s in voted] == [(50, 5)] * 2
    assert not any("voted" in s.key for s in steps_of(CONFIG) if isinstance(s, Calls))


def test_the_judge_decides_on_every_evaluation() -> None:
    """Validation by three models, training rows by one and once in three folds, test by three."""
    config = change(task__name="judge", task__labels=[], loop__max_iterations=1, models__judge__max_concurrency=3)
    steps = [s for s in steps_of(config) if isinstance(s, Calls) and "rated by" in s.key]
    assert sorted(s.n for s in steps) == [33] * 3 + [40] * 3 + [60] * 3 + [100]
    assert {s.width for s in steps} == {3} and len({s.key for s in steps}) == len(steps)


def test_runs_share_what_does_not_depend_on_their_own_rows() -> None:
    pada, auggpt = jobs_of(CONFIG), jobs_of(change(**_settings("auggpt")))
    shared = pada.keys() & auggpt.keys()
    assert sorted(pada[key] for key in shared) == pytest.approx([0.4, 0.4, 0.6, 0.6, 20])
    other_seed = jobs_of(change(seed=1)).keys() & pada.keys()
    assert sorted(pada[key] for key in other_seed) == pytest.approx([0.4, 0.6]), "the untouched student's answers"
    assert not jobs_of(change(student__model="other")).keys() & pada.keys()


def test_tasks_share_nothing_even_if_they_have_as_many_rows() -> None:
    other = change(data__validation="other.jsonl", data__test="tests.jsonl", data__train="training.jsonl")
    assert not jobs_of(other).keys() & jobs_of(CONFIG).keys()
    asked = change(task__description="Another question about the same rows.")
    assert not jobs_of(asked).keys() & jobs_of(CONFIG).keys()


@pytest.mark.parametrize(
    "several", [{"compute__processes": 4}, {"compute__backend": "ray", "compute__cluster__num_gpus": 4}]
)
def test_gpus_that_share_a_fine_tuning_divide_its_time_and_no_other(several: dict[str, Any]) -> None:
    one, four = jobs_of(CONFIG), jobs_of(change(**several))
    assert sorted(four.values()) == pytest.approx(sorted([s / 4 if s >= 20 else s for s in one.values()]))


def test_arms_with_the_same_first_model_share_its_analysis() -> None:
    variant = change(generation__max_top_ups=0)
    keys = [{s.key for s in steps_of(c) if isinstance(s, Calls)} for c in (CONFIG, variant, change(seed=1))]
    assert len(keys[0] & keys[1]) == 3 and not keys[0] & keys[2]


def test_methods_do_only_what_they_do() -> None:
    vanilla = change(**_settings("vanilla"))
    assert len(jobs_of(vanilla)) == 5 and not calls_of(vanilla)
    oracle = change(**_settings("oracle"), loop__max_iterations=1)
    assert not calls_of(oracle)
    assert len(jobs_of(oracle)) == 3 + 2 + 3
    assert len(jobs_of(vanilla, COUNTS.model_copy(update={"test": 0}))) == 3


def test_folds_are_counted_where_a_writing_student_may_need_them() -> None:
    config = change(task__name="numeric", task__labels=[], loop__max_iterations=2)
    folds = {key: seconds for key, seconds in jobs_of(config).items() if "fold" in key}
    assert sorted(folds.values()) == pytest.approx([1 / 3] * 3 + [20 * 2 / 3] * 3)
    assert not any("fold" in key for key in jobs_of(change(config, generation__error_source="train")))


def test_an_evaluation_is_divided_as_on_a_cluster() -> None:
    large = COUNTS.model_copy(update={"test": 4001})
    found = [v for k, v in jobs_of(change(loop__max_iterations=0), large).items() if " test " in k]
    assert found == pytest.approx([4001 / 3 * 0.01] * 6)


def test_roles_that_share_a_model_share_its_limits() -> None:
    one = {"model": "openai:m", "requests_per_minute": 60, "max_concurrency": 4}
    other = {"max_output_tokens": 900, "usd_per_million_input_tokens": 1, "timeout_seconds": 9}
    roles = {"models__analyst": one, "models__generator": one | other, "models__judge": one | {"extra": {"top_k": 1}}}
    limits = find_limits(change(**roles))
    assert list(limits.values()) == [Limits(4, 60)]
    assert {s.model for s in steps_of(change(**roles)) if isinstance(s, Calls)} == limits.keys()


def _settings(method: str) -> dict[str, Any]:
    return {key.replace(".", "__"): value for key, value in find_method(method).settings.items()}
