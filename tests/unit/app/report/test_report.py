import re
from pathlib import Path

import pytest

from pada_agent.app.report import charts, tables
from pada_agent.app.report.data import SyntheticRow, describe_run, number_patterns, pick_evenly
from pada_agent.app.report.document import render_report, write_report
from pada_agent.app.report.reading import RunFiles
from pada_agent.app.results.cards import write_data_card
from pada_agent.app.run_folder.layout import dump_config
from pada_agent.app.terminal.summary import render_summary
from pada_agent.app.text import duration, show_unseen
from pada_agent.core.config import RunConfig
from pada_agent.core.records import (
    ErrorAnalysis,
    ErrorPattern,
    Example,
    FailureTraits,
    Metrics,
    Prediction,
    ScoredRow,
    Usage,
    Verdict,
)
from pada_agent.graph.batch_rounds import WrittenRows
from pada_agent.graph.summary import IterationPatterns, PatternStrategy, RowCost
from tests.unit.app.summaries import make_summary


def test_the_end_of_run_text() -> None:
    text = render_summary(make_summary(), Path("runs/demo"))
    expected = (Path(__file__).parents[3] / "cases" / "end_of_run.txt").read_text(encoding="utf-8")
    assert text == expected


def test_what_a_run_cost_is_the_least_that_it_can_be_where_a_role_has_no_price(tmp_path: Path) -> None:
    config = RunConfig()
    judge = config.models.judge.model_copy(
        update={"usd_per_million_input_tokens": 1, "usd_per_million_output_tokens": 2}
    )
    config = config.model_copy(update={"models": config.models.model_copy(update={"judge": judge})})
    (tmp_path / "config.yaml").write_text(dump_config(config))
    rows = make_summary().rows.model_copy(update={"each": RowCost(n_calls=2, n_tokens=900, cost_usd=0.0004)})
    usage = {"generator": Usage(n_calls=9, input_tokens=90, output_tokens=9), "judge": Usage(n_calls=3, cost_usd=0.25)}
    summary = make_summary(rows=rows, usage=usage)
    text = render_summary(summary, tmp_path)
    for told in (
        "generator: 9 calls, 90 tokens in, 9 out, cost not known",
        "judge: 3 calls, 0 tokens in, 0 out, $0.25",
        "all: 12 calls, 90 tokens in, 9 out, at least $0.25",
        "900 tokens of generator and judge, at least $0.0004.",
    ):
        assert told in text
    assert "judge, at least $0.0004." in write_data_card(summary, {"pattern": 2}, config)
    assert "at least" not in render_summary(summary, tmp_path / "elsewhere"), "its settings are not known"


def test_sections_without_content_are_left_out() -> None:
    summary = make_summary(
        comparisons=(),
        patterns=(),
        warnings=(),
        usage={},
        seconds_by_stage={},
        rows=type(make_summary().rows)(),
        adapter=None,
    )
    text = render_summary(summary, Path("runs/demo"))
    assert "Patterns" not in text
    assert "Warnings" not in text
    assert "Synthetic rows: none." in text
    assert "none: the untouched model is the best" in text
    assert "\n\n\n" not in text


def test_an_unfinished_run_whose_student_is_ahead_says_so_far() -> None:
    summary = make_summary(stop_reason=tables.NOT_FINISHED, adapter=None)
    assert "Adapter: none: the untouched model is the best so far" in render_summary(summary, Path("runs/demo"))


@pytest.mark.parametrize(
    ("branches", "words"),
    [
        (("s1", "training_error"), "Synthetic rows: 60 wanted, 58 written, 50 joined"),
        (("held_back",), "Real rows: 60 wanted, 58 found, 50 joined"),
        (("s1", "held_back"), "Synthetic and real rows: 60 wanted, 58 written or found, 50 joined"),
    ],
)
def test_real_rows_are_not_called_synthetic(branches: tuple[str, ...], words: str) -> None:
    summary = make_summary()
    counts = dict.fromkeys(branches, WrittenRows(n_batches=1, n_requested=5, n_accepted=3))
    batches = (summary.batches[0].model_copy(update={"by_strategy": counts}),)
    assert tables.describe_rows(make_summary(batches=batches)).startswith(words)


def test_the_test_columns_stand_only_where_test_was_read() -> None:
    models = tuple(model.model_copy(update={"test": None}) for model in make_summary().models)
    assert "test" not in tables.model_rows(make_summary(models=models))[0]


def test_of_many_warnings_the_first_and_the_last_are_printed() -> None:
    warnings = tuple(f"batch {n} was lost" for n in range(50))
    text = render_summary(make_summary(warnings=warnings, alarms=("at chance",)), Path("runs/r"))
    assert "batch 0 was lost" in text and "batch 30 was" not in text
    assert "40 more: see report.html" in text and "Alarms\n  - at chance" in text


def test_durations_in_words() -> None:
    assert [duration(s) for s in (0.24, 48, 725, 12_000)] == ["0.2 s", "48 s", "12 min 5 s", "3 h 20 min"]


def test_the_report_stands_alone(tmp_path: Path) -> None:
    page = write_report(make_summary(), tmp_path).read_text("utf-8")
    assert not re.search(r"""(src|href)=(?!"#)|url\(|@import""", page)
    assert "default-src 'none'" in page and "script-src 'sha256-" in page
    assert 'name="viewport"' in page
    assert "prefers-color-scheme: dark" in page


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    page = write_report(make_summary(), tmp_path).read_text("utf-8")
    assert "cannot be read, and are not shown: 1." in page and "objects/batches/rows.jsonl: missing" in page


def test_the_report_holds_the_same_content_as_the_text(tmp_path: Path) -> None:
    page = write_report(make_summary(), tmp_path).read_text("utf-8")
    for words in (
        "Money back first",
        "an amount",
        "p = 0.0012",
        "60.0%",
        "refund taken for return (2)",
        "max_iterations reached",
    ):
        assert words in page


def test_the_tile_says_that_the_rows_of_the_gain_also_chose_the_iteration(tmp_path: Path) -> None:
    summary = make_summary()
    chosen = tuple(c.model_copy(update={"split": "selection"}) for c in summary.comparisons)
    several = (*summary.models, summary.models[-1].model_copy(update={"name": "iteration 2", "iteration": 2}))
    words = "on 200 selection rows, which also chose the iteration: probably too high"
    assert words in write_report(make_summary(comparisons=chosen, models=several), tmp_path).read_text("utf-8")
    assert "too high" not in write_report(summary, tmp_path).read_text("utf-8")


@pytest.mark.parametrize("largest", [0, 0.004, 0.9, 1, 5, 59.3, 60, 67, 100, 1319, 4e6])
def test_an_axis_reaches_the_largest_value_with_few_ticks(largest: float) -> None:
    scale = charts.make_scale(largest)
    assert scale.top >= largest and (scale.top <= 2 * largest or scale.top == 1)
    assert 2 <= len(scale.ticks) <= charts.MAX_TICKS + 1
    assert (scale.ticks[0].at, scale.ticks[-1].at) == (0, 100)


def test_counts_have_no_ticks_between_whole_numbers() -> None:
    assert [t.label for t in charts.make_scale(1, whole=True).ticks] == ["0", "1"]


def test_stacked_pieces_stand_side_by_side() -> None:
    pieces = charts.stack([3, 0, 5], charts.make_scale(10))
    assert [(p.at, p.width) for p in pieces] == [(0, 30), (30, 0), (30, 50)]


def test_a_pattern_that_goes_on_keeps_its_number() -> None:
    def find(iteration: int, *continued: str | None) -> IterationPatterns:
        patterns = [
            ErrorPattern(
                id=f"i{iteration}-p{n}",
                category_name="c",
                error_pattern="",
                example_ids=(),
                n_analyzed=0,
                cluster=n,
                continues=earlier,
            )
            for n, earlier in enumerate(continued)
        ]
        return IterationPatterns(iteration=iteration, patterns=tuple(PatternStrategy(pattern=p) for p in patterns))

    numbers = number_patterns([find(1, None, None), find(2, "i1-p1", None), find(3, "i2-p0")])
    assert numbers == {"i1-p0": 1, "i1-p1": 2, "i2-p0": 2, "i2-p1": 3, "i3-p0": 2}


def answer(row: str, *, is_right: bool) -> ScoredRow:
    return ScoredRow(
        example=Example(id=row, prompt=f"question {row}", answer="refund"),
        prediction=Prediction(example_id=row, response="refund" if is_right else "return"),
        verdict=Verdict(example_id=row, value="correct" if is_right else "wrong"),
    )


def make_files() -> RunFiles:
    """Six validation rows, the last two select. The first fine-tuning fails v1 to v4 and v5; the iteration repairs v1
    and v5, and breaks v6. Pattern 1 holds v1 and v2, pattern 2 holds v3; v4 was not analyzed."""
    summary = make_summary()
    analysis = ErrorAnalysis(
        example_id="v2",
        error_cause="overlooked the amount",
        scenario_category="x",
        traits=FailureTraits(question="question v2"),
    )
    metrics = {name: Metrics(n=n, n_correct=0, accuracy=0, low=0, high=1) for name, n in (("all", 6), ("selection", 2))}
    measured = {"fine-tuned": ("v6",), "iteration 1": ("v1", "v5")}
    update = {"validation": metrics["all"], "selection": metrics["selection"]}
    return RunFiles(
        summary=summary.model_copy(update={"models": tuple(a.model_copy(update=update) for a in summary.models)}),
        is_finished=True,
        measured={
            model: tuple(answer(f"v{n}", is_right=f"v{n}" in right) for n in range(1, 7))
            for model, right in measured.items()
        },
        analyses={"1": (analysis,)},
        batches=(),
        accepted={},
        rejected={},
        trained={},
        usage_by_agent={},
        settings="",
        manifest=None,
        elapsed_seconds=None,
        missing=(),
    )


def test_the_cost_of_models_without_a_price_is_not_known(tmp_path: Path) -> None:
    unpriced = {"model": "openai:m"}
    models = {"models": {"generator": unpriced, "judge": unpriced}}
    (tmp_path / "config.yaml").write_text(dump_config(RunConfig.model_validate(models)))
    summary = make_summary()
    free = {role: usage.model_copy(update={"cost_usd": 0.0}) for role, usage in summary.usage.items()}
    page = write_report(summary.model_copy(update={"usage": free}), tmp_path).read_text("utf-8")
    assert "Its cost is not known (LLM calls: 24; no price set for generator, judge)" in page
    assert "LLM cost<b>not known</b>" in page
    assert "<td>not known</td>" in page
    assert "$0.00" not in page


def test_the_cost_is_at_least_that_of_the_roles_with_a_price(tmp_path: Path) -> None:
    models = {"models": {"generator": {"model": "local:g.gguf"}, "judge": {"model": "openai:m"}}}
    (tmp_path / "config.yaml").write_text(dump_config(RunConfig.model_validate(models)))
    page = write_report(make_summary(), tmp_path).read_text("utf-8")
    assert "It cost at least $0.50 (LLM calls: 24; no price set for judge)" in page


def test_a_local_model_costs_nothing(tmp_path: Path) -> None:
    models = {"models": {role: {"model": "local:m.gguf"} for role in ("generator", "judge")}}
    (tmp_path / "config.yaml").write_text(dump_config(RunConfig.model_validate(models)))
    assert "It cost $0.50 (LLM calls: 24)" in write_report(make_summary(), tmp_path).read_text("utf-8")


def test_wrong_answers_by_pattern_before_and_after() -> None:
    before, after = describe_run(make_files()).stacks
    assert (before.model, [(s.number, s.n) for s in before.segments]) == ("fine-tuned", [(1, 2), (2, 1), (None, 1)])
    assert (after.model, [(s.number, s.n) for s in after.segments]) == ("iteration 1", [(1, 1), (2, 1), (None, 1)])


def test_a_patterns_page_says_what_was_repaired_and_shows_the_causes() -> None:
    first, second = describe_run(make_files()).patterns
    assert (first.n_errors, first.n_fixed, second.n_fixed) == (2, 1, 0)
    assert [(f.prompt, f.cause, f.answered_after, f.is_fixed) for f in first.failures] == [
        ("question v1", None, "refund", True),
        ("question v2", "overlooked the amount", "return", False),
    ]


def test_where_no_model_was_trained_nothing_is_said_to_be_fixed() -> None:
    files = make_files()
    summary = files.summary.model_copy(update={"models": files.summary.models[:2], "best_model": "fine-tuned"})
    data = describe_run(files.model_copy(update={"summary": summary}))
    assert [s.model for s in data.stacks] == ["fine-tuned"]
    assert [(p.after, p.n_fixed) for p in data.patterns] == [(None, None)] * 2


def test_of_many_rows_an_even_choice_is_shown() -> None:
    rows = [
        SyntheticRow(id=str(n), iteration=1, status="accepted", source="s", strategy_id=None, text="", reason="")
        for n in range(10)
    ]
    assert [r.id for r in pick_evenly(rows, 4)] == ["0", "2", "5", "7"]
    assert pick_evenly(rows, 10) == rows


def test_the_filter_offers_every_value_whatever_its_case() -> None:
    shown = [
        SyntheticRow(id=str(n), iteration=1, status="accepted", source=source, strategy_id=None, text="", reason="")
        for n, source in enumerate(("Refund", "refund", "Refund"))
    ]
    page = render_report(describe_run(make_files()).model_copy(update={"rows": tuple(shown), "n_rows": 3}))
    assert re.findall(r'<option value="(refund)">', page, re.IGNORECASE) == ["Refund", "refund"]


def test_line_ends_of_windows_are_nothing_unseen() -> None:
    assert show_unseen("one\r\ntwo\rthree\r") == "one\ntwo[U+000D]three[U+000D]"
