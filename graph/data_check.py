"""Checks the rows of a run and reports all problems at once, before anything is computed."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pada_agent.core.config import DataConfig, RunConfig
from pada_agent.core.errors import ConfigError, DatasetError, PadaError, RowError
from pada_agent.core.ports import DatasetSource
from pada_agent.core.records import Example
from pada_agent.core.wording import agree, count
from pada_agent.evaluation.rows.findings import ERRORS, Finding, Pair, list_pairs, stop, warn
from pada_agent.evaluation.rows.label_counts import (
    check_answers,
    check_held_out_labels,
    check_held_out_limit,
    check_training_labels,
    count_labels,
)
from pada_agent.evaluation.rows.passages import check_passages
from pada_agent.evaluation.rows.reading import ReadFile
from pada_agent.evaluation.rows.repetition import (
    count_questions,
    drop_repeated,
    drop_shared,
    find_contradictions,
)
from pada_agent.evaluation.rows.row_errors import tell_alike
from pada_agent.evaluation.statistics import wilson_interval
from pada_agent.evaluation.task import Task
from pada_agent.graph.data_files import (
    SPLITS,
    FileName,
    Split,
    count_labels_further_down,
    read_run_files,
    warn_about,
)

MAX_TOLD = 12
"""Maximum number of problems listed in one error. Further ones are only counted."""
FEW_ROWS = 50
"""With fewer rows, an accuracy is uncertain by more than ±13 points."""
ENOUGH_ROWS = 100
"""What the documentation advises. An accuracy is then uncertain by up to ±10 points."""

Labels = Mapping[str, int]


class CheckedData(NamedTuple):
    """The rows that the run will use, and everything the checks found."""

    files: dict[FileName, ReadFile]
    labels: dict[FileName, dict[str, int]]
    """Number of rows per label, by file. Empty if the labels are not a closed set."""
    findings: list[Finding]


def check_run_data(
    settings: RunConfig, given: Mapping[str, Any], *, datasets: DatasetSource, task: Task
) -> CheckedData:
    """Read and check all rows of a run.

    Args:
        given: the graph's input. Rows in it replace those of the files.
    """
    files, problems = read_run_files(settings, given, datasets=datasets, task=task)
    further = count_labels_further_down(settings, given, datasets=datasets, task=task)
    checked = check_data(settings, files, task, further_down=further)
    notes = map(warn, warn_about(files))
    return checked._replace(findings=[*tell_problems(problems), *checked.findings, *notes])


def check_data(
    settings: RunConfig,
    files: Mapping[FileName, ReadFile],
    task: Task,
    *,
    further_down: Mapping[Split, Labels] | None = None,
) -> CheckedData:
    """Drop rows that occur twice, as the settings say, and list what a person should know before the rows are used.

    Args:
        further_down: number of rows per label among those that a limit leaves out, by split.
    """
    data = settings.data
    kept, findings = _drop_repeated(files, data, task)
    findings += [finding for name in kept for finding in _check_questions(kept[name], task)]
    kept, shared = _drop_shared(kept, data, task)
    labels = {name: count_labels(task, file.examples) for name, file in kept.items()}
    findings += shared + _check_labels(kept, labels, settings, further_down or {})
    findings += _check_written_answers(kept, labels, task) + _check_sizes(kept, files) + _check_passages(kept)
    return CheckedData(kept, labels, findings)


def tell_problems(problems: Sequence[PadaError]) -> list[Finding]:
    """Findings for files and rows that could not be read."""
    rows = [str(exc) for exc in problems if not isinstance(exc, ConfigError | RowError)]
    rows += tell_alike(exc for exc in problems if isinstance(exc, RowError))
    about_settings = [stop(str(exc), "settings") for exc in problems if isinstance(exc, ConfigError)]
    more = [stop(f"… and {count(len(rows) - MAX_TOLD, 'more problem')} of this kind")] if len(rows) > MAX_TOLD else []
    return [*about_settings, *map(stop, rows[:MAX_TOLD]), *more]


def refuse(findings: Sequence[Finding]) -> None:
    """Raise one error that lists every finding that stops the run. Does nothing if there is none.

    Raises:
        PadaError: the class that `ERRORS` gives for the kind of finding, or `DatasetError` for findings of several
            kinds.
    """
    stops = [finding for finding in findings if finding.stops]
    if not stops:
        return
    kinds = {finding.kind for finding in stops}
    lines = [finding.text for finding in stops[:MAX_TOLD]]
    if len(stops) > MAX_TOLD:
        lines.append(f"… and {count(len(stops) - MAX_TOLD, 'more problem')}: see all with `pada check`")
    raise (ERRORS[stops[0].kind] if len(kinds) == 1 else DatasetError)("\n".join(lines))


def _drop_repeated(
    files: Mapping[FileName, ReadFile], data: DataConfig, task: Task
) -> tuple[dict[FileName, ReadFile], list[Finding]]:
    kept: dict[FileName, ReadFile] = {}
    findings = []
    for name, file in files.items():
        kept[name], repeated = drop_repeated(file, task)
        if not repeated:
            continue
        n = len(repeated)
        message = f"{_place(name, file)}: {count(n, 'row')} {agree(n, 'repeats', 'repeat')} an earlier row ({list_pairs(repeated)})"
        if data.on_duplicate == "error":
            findings.append(stop(f"{message}. Drop {agree(n, 'it', 'them')}, or set data.on_duplicate to drop"))
        else:
            findings.append(warn(f"{message} and {agree(n, 'was', 'were')} dropped"))
    return kept, findings


def _check_questions(file: ReadFile, task: Task) -> list[Finding]:
    """Rows with the same question and different answers. If that is true of most rows, the question must be in another column."""
    if len(file.examples) < 2:
        return []
    place, n_rows = file.understood.location, len(file.examples)
    if n_rows > 2 and count_questions(file, task) == 1:
        return [
            stop(f"{place}: all {n_rows} rows have the same question. Name the columns of the question in task.columns")
        ]
    exact, pairs = find_contradictions(file, task, exactly=True), find_contradictions(file, task)
    if 2 * len(exact) >= n_rows:
        message = _tell_contradictions(place, n_rows, exact)
        return [stop(f"{message}. Is a part of the question in another column? A list in task.columns joins columns")]
    if not pairs:
        return []
    alike = "" if pairs == exact else ", ignoring case and punctuation,"
    return [warn(_tell_contradictions(place, n_rows, pairs, alike))]


def _tell_contradictions(place: str, n_rows: int, pairs: Sequence[Pair], alike: str = "") -> str:
    return (
        f"{place}: {len(pairs)} of {n_rows} rows {agree(len(pairs), 'repeats', 'repeat')} the question of an earlier"
        f" row{alike} with another right answer ({list_pairs(pairs)})"
    )


def _drop_shared(
    files: Mapping[FileName, ReadFile], data: DataConfig, task: Task
) -> tuple[dict[FileName, ReadFile], list[Finding]]:
    """Make sure that no row is in two splits: test keeps its rows, validation drops those that are in test, and training drops both."""
    kept = dict(files)
    findings = []
    for name, others in (("validation", ("test",)), ("train", ("validation", "test"))):
        if name not in kept:
            continue
        rest, pairs = drop_shared(kept[name], [kept[other] for other in others if other in kept], task)
        if not pairs:
            continue
        finding = _tell_shared(name, kept[name], pairs, data)
        findings.append(finding)
        if not finding.stops:
            kept[name] = rest
    return kept, findings


def _tell_shared(name: FileName, file: ReadFile, pairs: Sequence[Pair], data: DataConfig) -> Finding:
    place, where = _place(name, file), "validation or test" if name == "train" else "test"
    n, n_rows = len(pairs), len(file.examples)
    if n == n_rows:
        return stop(f"{place}: all {n_rows} rows are also in {where} ({list_pairs(pairs)}). Use other rows", "leak")
    message = f"{place}: {n} of {n_rows} rows {agree(n, 'is', 'are')} also in {where} ({list_pairs(pairs)})"
    if data.on_overlap == "error":
        return stop(f"{message}. Remove {agree(n, 'it', 'them')}, or set data.on_overlap to drop", "leak")
    return warn(f"{message} and {agree(n, 'was', 'were')} dropped")


def _check_labels(
    files: Mapping[FileName, ReadFile],
    labels: Mapping[FileName, Labels],
    settings: RunConfig,
    further_down: Mapping[Split, Labels],
) -> list[Finding]:
    data = settings.data
    places: dict[str, str] = {name: _place(name, file) for name, file in files.items()}
    findings = []
    for split in SPLITS:
        further = further_down.get(split, {})
        if split not in files:
            continue
        if split == "train":
            findings += check_training_labels(places[split], labels[split], further, limit=data.train_limit)
        else:
            findings += check_held_out_limit(split, places[split], labels[split], further)
    by_split: dict[str, Labels] = {str(name): counts for name, counts in labels.items()}
    return findings + check_held_out_labels(by_split, tuple(settings.task.labels), places)


def _check_written_answers(
    files: Mapping[FileName, ReadFile], labels: Mapping[FileName, Labels], task: Task
) -> list[Finding]:
    if "train" not in files or labels["train"]:
        return []
    return check_answers(_place("train", files["train"]), files["train"].examples, task)


def _check_passages(files: Mapping[FileName, ReadFile]) -> list[Finding]:
    rows: dict[str, Sequence[Example]] = {name: file.examples for name, file in files.items()}
    return check_passages(rows, {name: _place(name, file) for name, file in files.items()})


def _check_sizes(kept: Mapping[FileName, ReadFile], read: Mapping[FileName, ReadFile]) -> list[Finding]:
    """Whether there are enough rows to measure on."""
    findings = []
    for name in ("validation", "test"):
        if name not in kept or not (found := len(kept[name].examples)):
            continue
        if name == "validation" and found < 2:
            findings.append(_refuse_one_row(kept[name], n_dropped=len(read[name].examples) - found))
        elif found < FEW_ROWS:
            interval = wilson_interval(found // 2, found)
            points = round(50 * (interval.high - interval.low))
            findings.append(
                warn(
                    f"{_place(name, kept[name])}: only {count(found, f'{name} row')}: an accuracy on so few is uncertain by up"
                    f" to ±{points} points (95% interval). Use {ENOUGH_ROWS} or more"
                )
            )
    return findings


def _refuse_one_row(file: ReadFile, n_dropped: int) -> Finding:
    why = f" when {count(n_dropped, 'row')} that {agree(n_dropped, 'repeats', 'repeat')} others {agree(n_dropped, 'is', 'are')} dropped"
    return stop(
        f"{_place('validation', file)}: at least 2 validation rows are needed, found {len(file.examples)}{why if n_dropped else ''}"
    )


def _place(name: FileName, file: ReadFile) -> str:
    return file.understood.location or f"input.{name}"
