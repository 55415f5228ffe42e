"""The report of real runs over the toy world: its figures, its escaping, and how a browser shows it."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.types import Command
from typer.testing import CliRunner

from pada_agent.app.cli import app
from pada_agent.app.report.data import MAX_ROWS, describe_run
from pada_agent.app.report.document import HERE, render_report
from pada_agent.app.report.reading import RunFiles, read_files
from pada_agent.app.run_folder.checkpoints import make_serializer
from pada_agent.app.run_folder.layout import describe_machine, dump_config
from pada_agent.core.groupings import GroupingByEmbedder, GroupingByNumber, Sensitivity
from pada_agent.graph.builder import build_graph
from pada_agent.graph.reviewing import Review
from tests.browser import CHROMIUM, Browser, open_browser
from tests.fakes import ScriptedModel
from tests.toy_world import ToyWorld, make_settings, teach

THREAD: Any = {"configurable": {"thread_id": "run"}}

HOSTILE = (
    "<script>window.hit = 1</script>",
    '"><img src=x onerror="window.hit = 2">',
    "' onmouseover='window.hit = 3",
    "</script><script>window.hit = 4</script>",
    "</style></title></pre></textarea><svg onload=window.hit=5>",
    '{"a": "</script><!--<script>"}',
    "{{ 7 * 191 }} {% raw %} ${7 * 191} {# #}",
    "<!-- ]]> --!> <![CDATA[",
    "&lt;b&gt;",
    "javascript:window.hit=6",
    "\u202egnp.exe\u202c \u2066x",
    "\x00\x08\x1b[31m",
    "W" * 300,
)
FREE_TEXT = {
    *("category_name", "error_pattern", "strategy_name", "generation_approach", "key_elements", "text", "reason"),
    *("prompt", "answer", "response", "extracted", "error_cause", "warnings", "verdict", "gold", "predicted"),
    *("embedder", "decision", "redactions", "stop_reason", "student", "settings", "missing", "command", "comment"),
}  # fmt: skip


MOVED = Sensitivity(
    n_errors=20,
    embedder="all-mpnet-base-v2",
    n_clusters=2,
    silhouette=0.4,
    stability=0.5,
    by_number=tuple(
        GroupingByNumber(n_clusters=k, inertia=18 / k, silhouette=0.4, stability=0.5, agreement=agreement)
        for k, agreement in ((2, 1.0), (3, 0.62), (4, 0.31))
    ),
    by_embedder=(
        GroupingByEmbedder(
            embedder="words", n_clusters=3, silhouette=None, stability=0.2, agreement=-0.01, agreement_at_number=0.11
        ),
    ),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def files(folder: Path) -> RunFiles:
    """A finished run of two iterations."""
    graph = build_graph(ToyWorld(folder).connect).compile()
    return read_files(graph.invoke({}, context=make_settings())["summary"], folder)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    with open_browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


def poison(value: Any, key: str = "") -> Any:
    """Every free text in a dumped record, with all hostile strings after it."""
    if isinstance(value, dict):
        return {k: v if k == "comparisons" else poison(v, k) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [poison(v, key) for v in value]
    return "\n".join((value, *HOSTILE)) if isinstance(value, str) and key in FREE_TEXT else value


def fill(files: RunFiles) -> RunFiles:
    """With all that a page can show."""
    review = Review(review="data", iteration=1, time="", answer={"comment": "dropped"})
    told = {"redactions": ("cut",), "warnings": ("a warning",), "alarms": ("one",), "reviews": (review,)}
    summary = files.summary.model_copy(update=told)
    manifest = describe_machine(make_settings())
    parts = {"missing": ("gone",), "settings": "name: toy", "elapsed_seconds": 3.0, "manifest": manifest}
    return files.model_copy(update={"summary": summary, "sensitivities": {"1": MOVED}, **parts})


def make_hostile(files: RunFiles) -> RunFiles:
    return RunFiles.model_validate(poison(fill(files).model_dump()))


class Elements(HTMLParser):
    """The elements of a page, their attributes, and the text of its scripts."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.names: set[str] = set()
        self.attributes: set[str] = set()
        self.scripts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.scripts += [""] * (tag == "script")

    def handle_data(self, data: str) -> None:
        if self.lasttag == "script" and data.strip() and not self.scripts[-1]:
            self.scripts[-1] = data


def test_every_wrong_answer_of_the_diagnosed_part_stands_in_the_stack(files: RunFiles) -> None:
    data = describe_run(files)
    assert [(s.iteration, s.model) for s in data.stacks][:2] == [(1, "fine-tuned"), (1, "iteration 1")]
    for stack in data.stacks:
        arm = next(a for a in files.summary.models if a.name == stack.model)
        n_wrong = arm.validation.n - arm.validation.n_correct - (arm.selection.n - arm.selection.n_correct)
        assert sum(segment.n for segment in stack.segments) == n_wrong
        assert all(segment.n >= 0 for segment in stack.segments)
    # The diagnosed model had every error of its patterns.
    first = {p.number: p.n_errors for p in data.patterns if p.iteration == 1}
    assert {s.number: s.n for s in data.stacks[0].segments if s.number} == first


def test_what_is_fixed_and_what_is_left_add_up(files: RunFiles) -> None:
    data = describe_run(files)
    after = {s.number: s.n for s in data.stacks[1].segments if s.number}
    for page in data.patterns:
        if page.iteration == 1:
            assert page.n_fixed is not None
            assert page.n_errors - page.n_fixed == after[page.number]
            assert sum(f.is_fixed for f in page.failures) <= page.n_fixed


def test_the_rows_agree_with_the_summary(files: RunFiles) -> None:
    rows, counts = describe_run(files).rows, files.summary.rows
    assert sum(row.status == "accepted" for row in rows) == counts.accepted
    for stage in set(counts.rejected) - {"duplicate"}:
        assert sum(row.status == stage for row in rows) == counts.rejected[stage]
    assert len(rows) == counts.written


def test_rows_that_a_person_dropped_or_restored_are_told_apart(tmp_path: Path) -> None:
    world = ToyWorld(
        tmp_path, judge=ScriptedModel(lambda request: teach(request, score=5 if "e-b1" in request.draw else 8))
    )
    settings = make_settings(review={"data": True}, loop={"max_iterations": 1}, quality={"max_regenerations": 0})
    with SqliteSaver.from_conn_string(":memory:") as saver:
        graph = build_graph(world.connect).compile(checkpointer=saver)
        asked = graph.invoke({}, THREAD, context=settings)["__interrupt__"][0].value
        dropped, restored = asked["rows"][0]["id"], asked["rejected"][0]["id"]
        graph.invoke(Command(resume={"drop": [dropped], "accept": [restored]}), THREAD, context=settings)
    rows = {row.id: row for row in describe_run(read_files(world.published[0], tmp_path)).rows}
    assert rows[dropped].status == "left out"
    assert rows[restored].status == "accepted" and rows[restored].reason.startswith("accepted in review")


def test_accepted_rows_come_with_the_judges_scores_and_reason(files: RunFiles) -> None:
    data = describe_run(files)
    accepted = [row for row in data.rows if row.status == "accepted"]
    assert {row.reason for row in accepted} == {"rated 8.0: clear enough"}
    assert {(row.strategy_id is None, row.scores) for row in accepted} == {
        (True, "utility 8, relevance 8"),
        (False, "adherence 8, utility 8, relevance 8"),
    }
    page = data.patterns[0]
    assert page.accepted and all(row.reason == "rated 8.0: clear enough" for row in page.accepted)
    shown = render_report(data)
    assert "<b>accepted</b>: <bdi>rated 8.0: clear enough</bdi><br>adherence 8, utility 8, relevance 8" in shown


def test_a_row_that_was_rejected_for_its_rating_shows_the_scores_too(tmp_path: Path) -> None:
    world = ToyWorld(tmp_path, judge=ScriptedModel(lambda request: teach(request, score=3)))
    graph = build_graph(world.connect).compile()
    summary = graph.invoke({}, context=make_settings(quality={"max_regenerations": 0}))["summary"]
    rejected = [row for row in describe_run(read_files(summary, tmp_path)).rows if row.status == "quality"]
    assert rejected and {row.reason for row in rejected} == {"rated 3.0: clear enough"}
    assert all("utility 3" in row.scores for row in rejected)


def test_the_report_says_how_the_groups_move_with_other_choices(files: RunFiles) -> None:
    data = describe_run(files)
    assert data.sensitivities.keys() == {"1", "2"}
    for found, iteration in zip(data.sensitivities.values(), files.summary.patterns, strict=True):
        assert found.n_clusters == iteration.n_clusters and found.by_embedder
        assert (found.silhouette, found.stability) == (iteration.silhouette, iteration.stability)
    assert "Would other choices give the same groups?" in render_report(data)
    page = render_report(describe_run(fill(files)))
    assert "20 errors in 2 groups. Agreement: 0.31 to 0.62 with 3 to 4 groups instead, -0.01 with the groups of" in page
    assert "<td>2 *</td><td>1.00</td><td>0.50</td><td>0.40</td><td>9.00</td>" in page
    assert "<td>words</td><td>3</td><td>-0.01</td><td>0.11</td><td>0.20</td><td>–</td>" in page


def test_a_run_that_did_not_ask_has_no_such_section(files: RunFiles) -> None:
    page = render_report(describe_run(files.model_copy(update={"sensitivities": {}})))
    assert "Would other choices" not in page


def test_hostile_text_stays_text(files: RunFiles) -> None:
    plain, hostile = (render_report(describe_run(f)) for f in (fill(files), make_hostile(files)))
    expected, found = Elements(plain), Elements(hostile)
    assert found.names == expected.names
    assert found.attributes == expected.attributes
    assert not [name for name in found.attributes if name.startswith("on")]
    assert found.scripts == expected.scripts == [(HERE / "report.js").read_text()]
    assert "&lt;script&gt;window.hit = 1" in hostile
    assert "{{ 7 * 191 }}" in hostile and "1337" not in hostile
    assert "[U+202E]gnp.exe" in hostile and not re.search("[\x00-\x08\u202a-\u202e\u2066-\u2069]", hostile)


def test_long_runs_make_no_long_pages(files: RunFiles) -> None:
    first = files.batches[0]
    many = {f"i1-x-b{n}": files.accepted[first.batch_id] for n in range(2000)}
    batches = tuple(first.model_copy(update={"batch_id": i}) for i in many)
    data = describe_run(files.model_copy(update={"batches": batches, "accepted": many}))
    page = render_report(data)
    assert len(data.rows) == MAX_ROWS < data.n_rows
    assert f"{MAX_ROWS} of {data.n_rows:,} rows" in page
    assert len(page.encode()) < 1_000_000


@pytest.fixture
def interrupted(tmp_path: Path) -> Path:
    """A run cut off before its end."""
    folder = tmp_path / "toy"
    settings = make_settings(runs_folder=str(tmp_path))
    world = ToyWorld(folder)
    folder.mkdir(exist_ok=True)
    (folder / "config.yaml").write_text(dump_config(settings))
    with SqliteSaver.from_conn_string(str(folder / "checkpoints.sqlite")) as saver:
        saver.serde = make_serializer()
        graph = build_graph(world.connect).compile(checkpointer=saver, interrupt_before=["finish"])
        graph.invoke({}, THREAD, context=settings)
    return folder


def test_an_unfinished_run_is_reported_as_such(interrupted: Path) -> None:
    result = CliRunner().invoke(app, ["report", str(interrupted)])
    assert result.exit_code == 0, result.output
    assert "This run is not finished: iteration 2" in result.stdout
    page = (interrupted / "report.html").read_text()
    assert "unfinished run" in page and "(best)" in page and "mixed up kinds" in page
    assert not (interrupted / "summary.json").exists()


def test_an_unfinished_run_names_an_adapter_that_is_there(interrupted: Path) -> None:
    told = CliRunner().invoke(app, ["report", str(interrupted)]).stdout
    (adapter,) = re.findall(r"^Adapter: (.*)$", told, re.MULTILINE)
    assert Path(adapter).is_dir() and not (interrupted / "best").exists()


def test_what_an_earlier_run_in_this_folder_was_grouped_into_is_not_shown_for_an_unfinished_one(
    interrupted: Path,
) -> None:
    (interrupted / "iterations" / "1").mkdir(parents=True)
    (interrupted / "iterations" / "1" / "grouping.json").write_text(MOVED.model_dump_json())
    assert CliRunner().invoke(app, ["report", str(interrupted)]).exit_code == 0
    assert "20 errors in" not in (interrupted / "report.html").read_text()


@pytest.mark.parametrize("is_measured", [True, False])
def test_the_command_that_continues_a_run_can_be_pasted(interrupted: Path, is_measured: bool) -> None:
    folder = interrupted.rename(interrupted.with_name("my toy"))
    if not is_measured:
        (folder / "checkpoints.sqlite").unlink()
    result = CliRunner().invoke(app, ["report", str(folder)])
    assert f"Continue with: pada resume '{folder}'" in result.output


def test_a_run_that_measured_nothing_yet_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(dump_config(make_settings()))
    result = CliRunner().invoke(app, ["report", str(tmp_path)])
    assert result.exit_code == 2
    assert "nothing has been measured yet. Continue with: pada resume" in result.stderr
    assert not (tmp_path / "report.html").exists()


def test_something_else_is_no_run(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["report", str(tmp_path)])
    assert result.exit_code == 2 and "not a run folder" in result.stderr


def test_a_browser_shows_hostile_text_without_complaint(files: RunFiles, browser: Browser, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_text(render_report(describe_run(make_hostile(files))), encoding="utf-8")
    for width, dark in ((360, True), (390, False), (1000, False), (1280, True)):
        browser.open(page, width=width, dark=dark)
        browser.run("document.querySelectorAll('details').forEach(d => { d.open = true })")
        assert browser.run("document.documentElement.scrollWidth") <= width, f"sideways scroll at {width} px"
        assert browser.run("window.hit") is None
    assert browser.complaints == []


def test_charts_keep_within_their_place_and_have_names(files: RunFiles, browser: Browser, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_text(render_report(describe_run(files)), encoding="utf-8")
    browser.open(page, width=390)
    marks = "[...document.querySelectorAll('.chart rect, .chart circle, .chart line')]"
    outside = "r => { const b = r.getBoundingClientRect(); return b.left < 0 || b.right > innerWidth }"
    assert browser.run(f"{marks}.length") > 20
    assert browser.run(f"{marks}.filter({outside}).length") == 0
    charts = "[...document.querySelectorAll('.chart')]"
    assert browser.run(f"{charts}.length") == 4
    assert browser.run(
        f"{charts}.every(c => c.querySelector('title').textContent && c.querySelector('desc').textContent)"
    )


CONTRASTS = """
(() => {
  const parse = text => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = e => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c.length == 3 || c[3]) return c; } };
  const texts = [...document.querySelectorAll('main *, header *')].filter(e => [...e.childNodes].some(n => n.nodeType == 3 && n.data.trim()) && e.checkVisibility());
  return texts.filter(e => !e.matches('.on, title, desc, option')).map(e => {
    const style = getComputedStyle(e), ink = light(parse(e.matches('svg *') ? style.fill : style.color)), page = light(ground(e));
    return [(Math.max(ink, page) + 0.05) / (Math.min(ink, page) + 0.05), e.outerHTML.slice(0, 80)];
  });
})()
"""


@pytest.mark.parametrize("dark", [False, True])
def test_every_text_stands_out_from_its_ground(files: RunFiles, browser: Browser, tmp_path: Path, dark: bool) -> None:
    """At 4.5 to 1 or better, as WCAG asks of text (level AA)."""
    page = tmp_path / "report.html"
    page.write_text(render_report(describe_run(fill(files))), encoding="utf-8")
    browser.open(page, width=1000, dark=dark)
    found = browser.run(CONTRASTS)
    assert len(found) > 100
    assert [text for ratio, text in found if ratio < 4.5] == []


def test_a_printed_page_cuts_nothing_off(files: RunFiles, browser: Browser, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_text(render_report(describe_run(fill(files))), encoding="utf-8")
    browser.open(page, width=700, media="print", dark=True)
    browser.run("dispatchEvent(new Event('beforeprint'))")
    assert browser.run("document.documentElement.scrollWidth") <= 700
    assert browser.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    cut = "[...document.querySelectorAll('table')].filter(t => t.getBoundingClientRect().right > 700).length"
    assert browser.run(cut) == 0


def test_the_filter_hides_rows_and_print_opens_everything(files: RunFiles, browser: Browser, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_text(render_report(describe_run(files)), encoding="utf-8")
    browser.open(page, width=1000)
    visible = "[...document.querySelectorAll('#rows tbody tr')].filter(r => r.checkVisibility()).length"
    n_rows = browser.run(visible)
    assert n_rows == len(describe_run(files).rows)
    type_in = "document.forms.filter.elements.{}.value = {!r}; document.forms.filter.dispatchEvent(new Event('input'))"
    browser.run(type_in.format("iteration", "1"))
    n_first = browser.run(visible)
    assert 0 < n_first < n_rows
    assert browser.run("document.getElementById('shown').textContent") == f"{n_first} of {n_rows} rows"
    browser.run(type_in.format("search", "no such words"))
    assert browser.run(visible) == 0
    browser.run("dispatchEvent(new Event('beforeprint'))")
    assert browser.run("document.querySelectorAll('details:not([open])').length") == 0


def test_without_a_script_the_rows_are_a_plain_table(files: RunFiles, browser: Browser, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_text(render_report(describe_run(files)), encoding="utf-8")
    browser.open(page, width=1000, scripts=False)
    assert browser.run("document.getElementById('filter').checkVisibility()") is False
    assert browser.run("document.querySelectorAll('#rows tbody tr').length") == len(describe_run(files).rows)
