"""The result of `pada check`, for a terminal."""

from collections.abc import Iterator, Sequence
from io import StringIO
from pathlib import PurePath

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from pada_agent.app.runs.checking import CheckReport, RenderedRow
from pada_agent.app.runs.probing import Probe
from pada_agent.app.text import duration, show_unseen
from pada_agent.core.config import RunConfig
from pada_agent.core.lines import split_lines
from pada_agent.core.wording import count
from pada_agent.evaluation.rows.findings import Finding
from pada_agent.evaluation.rows.reading import Understood
from pada_agent.evaluation.rows.token_limits import Spread

NARROWEST = 40
"""Characters of a line. A narrower terminal breaks it, because a table without room would consist of dots."""
MAX_LABELS = 20
MAX_LINES = 24
"""Maximum number of lines of a rendered row. The middle of a longer one is left out."""
MAX_LINE = 400
"""Maximum number of characters per line of a rendered row. The middle of a longer line is left out."""


def render_check(report: CheckReport, config: RunConfig, *, width: int, styled: bool) -> str:
    """The whole result: what was understood, rows as the student sees them, and what is wrong."""
    console = Console(file=StringIO(), width=max(width, NARROWEST), force_terminal=styled, highlight=False)
    sections = [
        _describe_files(report),
        _describe_limits(report, config),
        _describe_rows(report.rows),
        _describe_probes(report.probes),
        _describe_findings(report.findings),
    ]
    with console.capture() as capture:
        for section in sections:
            if section is not None:
                console.print(section)
                console.print()
    return "\n".join(line.rstrip() for line in capture.get().rstrip().split("\n")) + "\n"


def _describe_files(report: CheckReport) -> RenderableType | None:
    if not report.files:
        return None
    return Group(_title("Rows"), *map(_indent, _describe_readings(report)), Text(), _tabulate(report))


def _describe_readings(report: CheckReport) -> Iterator[Text]:
    """How the files are read. Said once if it is the same for all."""
    readings: dict[str, list[str]] = {}
    for name, file in report.files.items():
        readings.setdefault(_describe_reading(file.understood), []).append(_spell(name))
    for reading, names in readings.items():
        yield _plain(reading if len(readings) == 1 else f"{', '.join(names)}: {reading}")


def _describe_reading(found: Understood) -> str:
    columns = ", ".join(f"{field} ← {' + '.join(names)}" for field, names in found.columns.items())
    parts = [f"read as {found.form}" if found.form else "", columns, found.gold]
    return "; ".join(part for part in parts if part)


def _tabulate(report: CheckReport) -> Padding:
    """One column per file, with its rows, their tokens and its labels."""
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), show_edge=False)
    table.add_column(overflow="fold")
    for name in report.files:
        table.add_column(_spell(name), justify="right", header_style="bold", overflow="fold")
    files = report.files.values()
    table.add_row(_plain("file"), *(_plain(PurePath(file.understood.location).name) for file in files))
    table.add_row(_plain("rows"), *(_plain(f"{len(file.examples):,}") for file in files))
    if report.lengths:
        table.add_row(Text("tokens, median and longest", style="dim"))
        lengths = [report.lengths.get(name) for name in report.files]
        table.add_row(_plain("  prompt"), *(_plain(_describe_spread(found and found.prompt)) for found in lengths))
        table.add_row(_plain("  answer"), *(_plain(_describe_spread(found and found.answer)) for found in lengths))
    for row in _list_labels(report):
        table.add_row(*row)
    return _indent(table)


def _list_labels(report: CheckReport) -> Iterator[list[Text]]:
    totals: dict[str, int] = {}
    for counts in report.labels.values():
        for label, n in counts.items():
            totals[label] = totals.get(label, 0) + n
    if not totals:
        return
    yield [Text("rows by label", style="dim")]
    for label in sorted(totals, key=lambda label: -totals[label])[:MAX_LABELS]:
        found = (report.labels.get(name, {}).get(label, 0) for name in report.files)
        yield [_plain(f"  {_cut(label, 60)}"), *(_plain(f"{n:,}" if n else "–") for n in found)]
    if len(totals) > MAX_LABELS:
        yield [Text(f"  and {len(totals) - MAX_LABELS} more", style="dim")]


def _describe_spread(found: Spread | None) -> str:
    return f"{found.median:,}, {found.longest:,}" if found else ""


def _describe_limits(report: CheckReport, config: RunConfig) -> Text | None:
    if report.new_tokens is None:
        return None
    written = f"the student may write {count(report.new_tokens, 'token')}"
    if all(not file.examples or file.examples[0].options for file in report.files.values()):
        written = "the student scores the options and writes nothing"
    return Text.assemble(
        ("Limits", "bold"), f"  a training row: {config.lora.max_length:,} tokens (lora.max_length); {written}"
    )


def _describe_rows(rows: Sequence[RenderedRow]) -> RenderableType | None:
    if not rows:
        return None
    title = Text.assemble(("Training rows as the student sees them", "bold"), "  what is learned is marked with >")
    return Group(title, *(part for row in rows for part in (Text(), _describe_row(row))))


def _describe_row(row: RenderedRow) -> Padding:
    lines = Table.grid(padding=(0, 1))
    for marker, text, style in (("│", row.prompt, ""), (">", row.learned, "green")):
        for line in _shorten(split_lines(text)):
            lines.add_row(Text(marker, style=style or "dim"), Text(_cut(line, MAX_LINE), style=style, overflow="fold"))
    return _indent(Group(Text(_cut(row.where, MAX_LINE), style="dim"), lines))


def _describe_probes(probes: Sequence[Probe]) -> RenderableType | None:
    if not probes:
        return None
    lines = Table.grid(padding=(0, 2))
    for _ in range(3):
        lines.add_column(overflow="fold")
    for probe in probes:
        lines.add_row(_plain(probe.role), _plain(_cut(probe.model, 80)), _describe_probe(probe))
    return Group(_title("Teacher"), _indent(lines))


def _describe_probe(probe: Probe) -> Text:
    if probe.seconds is None:
        return Text("not asked, because that would load it" if probe.is_local else "not asked", style="dim")
    if probe.problem:
        return Text(
            "cannot be used" if probe.stops else "answers, but not in the expected form",
            style="red" if probe.stops else "yellow",
        )
    return Text(f"answered after {duration(probe.seconds)}", style="green")


def _describe_findings(findings: Sequence[Finding]) -> Group:
    stops = [finding for finding in findings if finding.stops]
    others = [finding for finding in findings if not finding.stops]
    parts: list[RenderableType] = []
    if others:
        parts += [_title("Warnings"), _list("!", others, "yellow"), Text()]
    if stops:
        message = f"{count(len(stops), 'problem')}: a run would be refused"
        parts += [Text(message, style="bold red"), _list("✗", stops, "red")]
    else:
        parts.append(Text("No problems: a run would start.", style="bold green"))
    return Group(*parts)


def _list(marker: str, findings: Sequence[Finding], style: str) -> Padding:
    lines = Table.grid(padding=(0, 1))
    for finding in findings:
        for i, line in enumerate(split_lines(finding.text)):
            lines.add_row(Text("" if i else marker, style=style), Text(_cut(line, 2000), overflow="fold"))
    return _indent(lines)


def _title(text: str) -> Text:
    return Text(text, style="bold")


def _plain(text: str) -> Text:
    return Text(_cut(text, MAX_LINE))


def _indent(part: RenderableType) -> Padding:
    return Padding(part, (0, 0, 0, 2), expand=False)


def _spell(name: str) -> str:
    return name.replace("_", " ")


def _shorten(lines: Sequence[str]) -> list[str]:
    if len(lines) <= MAX_LINES:
        return list(lines)
    half = MAX_LINES // 2
    return [*lines[:half], f"… {len(lines) - 2 * half} more lines", *lines[-half:]]


def _cut(line: str, most: int) -> str:
    """Printable, with the middle left out if it is longer than `most` characters. Rows come from other people."""
    line = show_unseen(line).replace("\t", "    ").replace("\n", " ")
    return line if len(line) <= most else f"{line[: most // 2]} … {line[-most // 2 :]}"
