"""A section of another package never ends a run: what is wrong with it is in the report. Our own say what they show."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pada_agent.agents.guards.guard import NOT_NEEDED
from pada_agent.agents.guards.registry import BUILT_IN
from pada_agent.app.report.document import HERE, write_report
from pada_agent.app.report.sections import ReportSection
from pada_agent.core import plugins
from tests.unit.app.summaries import make_summary


def fail_to_import() -> object:
    raise ImportError("no module named theirs")


@pytest.mark.parametrize(
    ("load", "heading", "told"),
    [
        (fail_to_import, "lengths", "ConfigError: report: the entry point &#39;lengths&#39; (their:Part) does not load"),
        (lambda: "<p>", "lengths", "ConfigError: report: the entry point &#39;lengths&#39; (their:Part) is not a ReportSection"),
        (lambda: ReportSection("l", "Lengths", lambda _: None), "Lengths", "PartError: render must return a value of type str, not None"),
        (lambda: ReportSection("l", "Lengths", lambda _: b"<p>"), "Lengths", "PartError: render must return a value of type str"),
    ],
)  # fmt: skip
def test_a_section_that_cannot_be_drawn_says_why(
    load: Callable[[], Any], heading: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    point = SimpleNamespace(name="lengths", value="their:Part", load=load)
    monkeypatch.setattr(plugins, "entry_points", lambda group: [point] * (group == plugins.REPORT_SECTIONS.group))
    page = write_report(make_summary(), tmp_path).read_text(encoding="utf-8")
    assert f"<h2>{heading}</h2>" in page
    assert f"This section could not be drawn: {told}" in page
    assert '<section id="cost">' in page


def test_the_report_says_what_each_stage_is_that_rejects_rows() -> None:
    section = (HERE / "sections" / "synthetic.html.j2").read_text(encoding="utf-8")
    stages = {*(guard.stage for guard in BUILT_IN), "verification", "vote", "quality", "person", NOT_NEEDED}
    assert [stage for stage in sorted(stages) if f"<li>{stage}: " not in section] == []
