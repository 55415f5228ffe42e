"""`pada check` on a terminal: what was understood, and everything that is wrong."""

from pada_agent.app.runs.checking import CheckReport, RenderedRow
from pada_agent.app.runs.probing import Probe
from pada_agent.app.terminal.check import render_check
from pada_agent.core.config import RunConfig
from pada_agent.core.records import Example
from pada_agent.evaluation.rows.findings import stop, warn
from pada_agent.evaluation.rows.reading import ReadFile, Understood
from pada_agent.evaluation.rows.token_limits import FileLengths, Spread


def make_file(location: str, n: int, *, options: tuple[str, ...] = (), form: str = "columns") -> ReadFile:
    examples = [Example(id=str(i), prompt="Why?", answer="a", options=options) for i in range(n)]
    columns = {"question": ("title", "body"), "answer": ("label",)}
    understood = Understood(location=location, n_rows=n, form=form, columns=columns)
    return ReadFile(examples, [f"{location}:{i + 1}" for i in range(n)], understood)


LENGTHS = FileLengths(Spread(12, 40), Spread(3, 1234))
REPORT = CheckReport(
    files={"train": make_file("data/train.jsonl", 1200), "held_back": make_file("data/more.csv", 2)},
    labels={"train": {"yes": 900, "no\x1b[31m": 300}, "held_back": {"yes": 2}},
    lengths={"train": LENGTHS},
    new_tokens=64,
    rows=(RenderedRow("data/train.jsonl:1", "<user>Why\nis it so?\n<assistant>", "yes<end>"),),
    probes=(
        Probe("analyst", "openai:a", 1.25),
        Probe("generator", "openai:b", 0.5, "no", stops=True),
        Probe("judge", "local:c", None),
    ),
    findings=(stop("first problem\nits second line"), warn("good to know"), stop("second problem")),
)


def render(report: CheckReport = REPORT, *, width: int = 200, styled: bool = False) -> str:
    return render_check(report, RunConfig(), width=width, styled=styled)


def test_everything_is_shown_in_order() -> None:
    assert (
        render()
        == """\
Rows
  read as columns; question ← title + body, answer ← label

                                     train   held back
  file                         train.jsonl    more.csv
  rows                               1,200           2
  tokens, median and longest
    prompt                          12, 40
    answer                        3, 1,234
  rows by label
    yes                                900           2
    no[U+001B][31m                     300           –

Limits  a training row: 1,024 tokens (lora.max_length); the student may write 64 tokens

Training rows as the student sees them  what is learned is marked with >

  data/train.jsonl:1
  │ <user>Why
  │ is it so?
  │ <assistant>
  > yes<end>

Teacher
  analyst    openai:a  answered after 1.2 s
  generator  openai:b  cannot be used
  judge      local:c   not asked, because that would load it

Warnings
  ! good to know

2 problems: a run would be refused
  ✗ first problem
    its second line
  ✗ second problem
"""
    )


def test_files_that_are_read_differently_are_told_apart() -> None:
    other = make_file("validation.csv", 3, form="conversations")
    shown = render(CheckReport(files={"train": make_file("t.csv", 3), "validation": other}, labels={}, findings=()))
    assert "\n  train: read as columns; question" in shown
    assert "\n  validation: read as conversations; question" in shown
    assert shown.endswith("\n\nNo problems: a run would start.\n")


def test_options_are_weighed_and_nothing_is_written() -> None:
    files = {"train": make_file("t.csv", 3, options=("a", "b"))}
    shown = render(CheckReport(files=files, labels={}, findings=(), new_tokens=16))
    assert "the student scores the options and writes nothing" in shown and "may write" not in shown


def test_long_rows_and_many_labels_are_shown_in_part() -> None:
    labels = {f"label {i}": 100 - i for i in range(50)}
    row = RenderedRow("t:1", "\n".join(f"line {i}" for i in range(100)), "x" * 5000)
    shown = render(REPORT._replace(labels={"train": labels}, rows=(row,)), width=600)
    assert "label 19" in shown and "label 20" not in shown and "and 30 more" in shown
    assert "│ line 11\n  │ … 76 more lines\n  │ line 88" in shown
    assert f"{'x' * 200} … {'x' * 200}\n" in shown


def test_a_narrow_terminal_wraps_and_a_file_does_not() -> None:
    report = REPORT._replace(findings=(stop("word " * 60),))
    assert max(map(len, render(report, width=72).split("\n"))) <= 72
    assert f"✗ {('word ' * 60).strip()}\n" in render(report, width=10_000)
    assert "\x1b[" in render(styled=True) and "\x1b[" not in render()
    assert "\x1b[31m  " not in render(styled=True), "a label has no control over the terminal"


def test_a_very_narrow_terminal_loses_nothing() -> None:
    for width in (1, 20, 40):
        shown = render(width=width)
        assert "\u2026" not in shown
        assert all(f"\n  {name}  " in shown for name in ("file", "rows", "  answer", "  yes", "judge"))


def test_without_any_file_only_the_problems_are_told() -> None:
    assert render(CheckReport({}, {}, (stop("no rows"),))) == "1 problem: a run would be refused\n  ✗ no rows\n"
