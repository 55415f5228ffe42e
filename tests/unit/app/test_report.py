import re
from pathlib import Path

from pada_agent.app.report import tables
from pada_agent.app.report.document import write_report
from tests.unit.app.summaries import make_summary


def test_the_end_of_run_text() -> None:
    text = tables.render_summary(make_summary(), Path("runs/demo"))
    expected = (Path(__file__).parents[2] / "cases" / "end_of_run.txt").read_text(encoding="utf-8")
    assert text == expected


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
    text = tables.render_summary(summary, Path("runs/demo"))
    assert "Patterns" not in text
    assert "Warnings" not in text
    assert "Synthetic rows: none." in text
    assert "none: the untouched model is the best" in text
    assert "\n\n\n" not in text


def test_the_test_columns_stand_only_where_test_was_read() -> None:
    arms = tuple(arm.model_copy(update={"test": None}) for arm in make_summary().arms)
    assert "test" not in tables.arm_rows(make_summary(arms=arms))[0]


def test_of_many_warnings_the_first_and_the_last_are_printed() -> None:
    warnings = (*(f"batch {n} was lost" for n in range(50)), "alarm: at chance")
    text = tables.render_summary(make_summary(warnings=warnings), Path("runs/r"))
    assert "batch 0 was lost" in text and "batch 30 was" not in text
    assert "41 more: see summary.json" in text and "alarm: at chance" in text


def test_durations_in_words() -> None:
    assert [tables.duration(s) for s in (0.24, 48, 725, 12_000)] == ["0.2 s", "48 s", "12 min 5 s", "3 h 20 min"]


def test_the_report_stands_alone_and_escapes_what_models_wrote(tmp_path: Path) -> None:
    page = write_report(make_summary(), tmp_path).read_text("utf-8")
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "Refund &lt;b&gt;or&lt;/b&gt; return" in page
    assert not re.search(r"""(src|href)=|url\(|@import""", page)
    assert 'name="viewport"' in page
    assert "prefers-color-scheme: dark" in page


def test_the_report_holds_the_same_content_as_the_text(tmp_path: Path) -> None:
    page = write_report(make_summary(), tmp_path).read_text("utf-8")
    for words in (
        "Money back first",
        "an amount",
        "p = 0.0012",
        "60.0 %",
        "refund taken for return (2)",
        "max_iterations reached",
    ):
        assert words in page
