"""What `pada check` found, for a terminal."""

from collections.abc import Mapping, Sequence
from itertools import chain

from pada_agent.app.runs.checking import CheckReport, Probe, RenderedRow
from pada_agent.app.text import duration
from pada_agent.core.config import RunConfig
from pada_agent.core.lines import split_lines
from pada_agent.evaluation.rows.findings import Finding, count
from pada_agent.evaluation.rows.reading import Understood
from pada_agent.evaluation.rows.token_limits import FileLengths

MAX_LABELS = 12
MAX_LINES = 24
"""Lines of a rendered row; of a longer one the middle is left out."""
WIDTH = 160
"""Characters of a line of a rendered row."""


def render_check(report: CheckReport, config: RunConfig) -> str:
    """All of it, ready to print: what was understood, rows as the student gets them, what speaks against a run."""
    files = [_describe_file(name, report) for name in report.files]
    sections = [
        "\n".join(chain.from_iterable(files)),
        _describe_limits(report, config),
        _describe_rows(report.rows),
        _describe_probes(report.probes),
        _describe_findings(report.findings),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _describe_file(name: str, report: CheckReport) -> list[str]:
    file = next(file for key, file in report.files.items() if key == name)
    found = file.understood
    lines = [f"{name.replace('_', ' ')}: {found.location}, {count(len(file.examples), 'row')}"]
    lines += [f"  {text}" for text in (_describe_form(found), _describe_columns(found), found.gold) if text]
    if labels := next((labels for key, labels in report.labels.items() if key == name), {}):
        lines.append(f"  labels: {_describe_labels(labels)}")
    if lengths := report.lengths.get(name):
        lines.append(f"  tokens (median): {_describe_lengths(lengths)}")
    return lines


def _describe_form(found: Understood) -> str:
    return f"read as {found.form}" if found.form else ""


def _describe_columns(found: Understood) -> str:
    return ", ".join(f"{field} ← {' + '.join(columns)}" for field, columns in found.columns.items())


def _describe_labels(labels: Mapping[str, int]) -> str:
    shown = ", ".join(f"{label} {n:,}" for label, n in list(labels.items())[:MAX_LABELS])
    return f"{shown} and {len(labels) - MAX_LABELS} more" if len(labels) > MAX_LABELS else shown


def _describe_lengths(lengths: FileLengths) -> str:
    prompt, answer = lengths.prompt, lengths.answer
    return (
        f"prompt {prompt.median:,}, longest {prompt.longest:,} ({prompt.longest_at}); answer {answer.median:,}, longest"
        f" {answer.longest:,}"
    )


def _describe_limits(report: CheckReport, config: RunConfig) -> str:
    if report.new_tokens is None:
        return ""
    written = f"the student may write {report.new_tokens:,}"
    if all(not file.examples or file.examples[0].options for file in report.files.values()):
        written = "the student weighs options and writes nothing"
    return f"limits: {config.lora.max_length:,} tokens for a training row (lora.max_length); {written}"


def _describe_rows(rows: Sequence[RenderedRow]) -> str:
    if not rows:
        return ""
    title = "Training rows as the student gets them; what is learned is marked with >"
    return "\n\n".join([title, *map(_describe_row, rows)])


def _describe_row(row: RenderedRow) -> str:
    shown = [f"  | {_cut(line)}" for line in split_lines(row.prompt)]
    learned = [f"  > {_cut(line)}" for line in split_lines(row.learned)]
    return "\n".join([f"  {row.where}", *_shorten(shown), *_shorten(learned)])


def _shorten(lines: list[str]) -> list[str]:
    if len(lines) <= MAX_LINES:
        return lines
    half = MAX_LINES // 2
    return [*lines[:half], f"  … {len(lines) - 2 * half} more lines", *lines[-half:]]


def _cut(line: str) -> str:
    line = "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in line.replace("\t", " "))
    return line if len(line) <= WIDTH else f"{line[: WIDTH // 2]} … {line[-WIDTH // 2 :]}"


def _describe_probes(probes: Sequence[Probe]) -> str:
    lines = [f"  {probe.role}: {probe.model} {_describe_probe(probe)}" for probe in probes]
    return "\n".join(["Teacher, one call for each role", *lines]) if lines else ""


def _describe_probe(probe: Probe) -> str:
    return "cannot be used" if probe.problem else f"answered after {duration(probe.seconds)}"


def _describe_findings(findings: Sequence[Finding]) -> str:
    stops = [f"  ✗ {finding.text}" for finding in findings if finding.stops]
    warnings = [f"  ! {finding.text}" for finding in findings if not finding.stops]
    parts = []
    if stops:
        parts.append("\n".join([f"{count(len(stops), 'problem')}: a run would be refused", *stops]))
    if warnings:
        parts.append("\n".join([f"{count(len(warnings), 'thing')} to know", *warnings]))
    if not stops:
        parts.append("Nothing stops a run.")
    return "\n\n".join(parts)
