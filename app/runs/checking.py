"""What `pada check` finds out: how rows are read, what the student sees of them, and whether the teacher answers."""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from pada_agent.app import wiring
from pada_agent.app.adapters.compute.backends import name_store
from pada_agent.app.adapters.compute.object_store import ObjectStore
from pada_agent.app.adapters.storage.artifacts import explain_writing
from pada_agent.app.adapters.storage.datasets import FileDatasets
from pada_agent.app.prerequisites import find_missing, get_model
from pada_agent.app.runs.probing import Probe, probe_roles, tell_silent
from pada_agent.app.runs.rows_alone import make_task_alone
from pada_agent.core.chat import Role
from pada_agent.core.config import ModelConfig, RunConfig
from pada_agent.core.errors import ArtifactError, BudgetExceededError, PadaError
from pada_agent.core.ports import DatasetSource, TokenCounter
from pada_agent.core.records import Example
from pada_agent.evaluation.rows.findings import Finding, blame, warn
from pada_agent.evaluation.rows.reading import ReadFile
from pada_agent.evaluation.rows.token_limits import FileLengths
from pada_agent.evaluation.task import Task
from pada_agent.graph.adapters import Adapters
from pada_agent.graph.data_check import refuse
from pada_agent.graph.data_files import FileName
from pada_agent.graph.run_check import RunCheck, check_everything, check_settings


class RenderedRow(NamedTuple):
    """A training row as the student sees it."""

    where: str
    """File and line."""
    prompt: str
    learned: str
    """What the student learns to write."""


class CheckReport(NamedTuple):
    """Everything that was found out before anything is computed."""

    files: Mapping[FileName, ReadFile]
    labels: Mapping[FileName, Mapping[str, int]]
    findings: tuple[Finding, ...]
    lengths: Mapping[str, FileLengths] = {}
    new_tokens: int | None = None
    """Maximum number of tokens that the student may write."""
    rows: tuple[RenderedRow, ...] = ()
    probes: tuple[Probe, ...] = ()

    @property
    def stops(self) -> bool:
        """Whether a run with these settings would be refused."""
        return any(finding.stops for finding in self.findings)


def check_run(config: RunConfig, *, probe: bool = True, say: Callable[[str], None] = lambda _: None) -> CheckReport:
    """Read, count, render and ask, in a temporary folder. No run's folder is created or changed.

    Args:
        probe: whether the teacher is asked one short question in each role.
        say: receives a message before each part that may take seconds.
    """
    say("reading the rows")
    if missing := find_missing(config):
        return _check_alone(config, missing)
    with _connect(config) as adapters:
        found = check_everything(config, {}, adapters)
        probes, unasked = _probe(config, adapters, say) if probe else ((), [])
        report = _report(found, adapters.tokens, before=[*map(warn, adapters.warnings)])
        return report._replace(findings=(*report.findings, *tell_silent(probes), *unasked), probes=probes)


def refuse_missing(config: RunConfig) -> None:
    """If settings name something that does not exist, report that and everything else that is wrong, before a run has a folder.

    Raises:
        PadaError: the same as in a run's first node.
    """
    if missing := find_missing(config):
        refuse(_check_alone(config, missing).findings)


def refuse_silent(config: RunConfig, adapters: Adapters, *, say: Callable[[str], None]) -> None:
    """Ask the teacher, if the settings say so.

    Raises:
        ConfigError: a role cannot be used.
        BudgetExceededError: no call is left.
    """
    if config.models.probe:
        refuse(tell_silent(tuple(probe_roles(config, adapters, say=say))))


class _RowAdapters(NamedTuple):
    datasets: DatasetSource
    task: Task
    tokens: TokenCounter | None


def _check_alone(config: RunConfig, missing: Sequence[Finding]) -> CheckReport:
    """Check the rows and their lengths, or at least the settings, although something is missing."""
    with ExitStack() as stack:
        tokens: TokenCounter | None = None
        try:
            task = make_task_alone(config)
            if not find_missing(config, "student", "compute"):
                aside = stack.enter_context(_set_aside(config))
                tokens = stack.enter_context(wiring.open_counter(aside))
            found = check_everything(config, {}, _RowAdapters(FileDatasets(), task, tokens))
        except PadaError as exc:
            untold = [blame(exc)] if not any(str(exc) in finding.text for finding in missing) else []
            return CheckReport({}, {}, (*missing, *check_settings(config), *untold))
        return _report(found, tokens, before=missing)


@contextmanager
def _connect(config: RunConfig) -> Iterator[Adapters]:
    with _set_aside(config) as aside:
        yield wiring.connect(aside)


@contextmanager
def _set_aside(config: RunConfig) -> Iterator[RunConfig]:
    """The settings with a folder whose name is new, so that no other check has done its jobs. Afterwards nothing is left."""
    place = _choose_place(config)
    with explain_writing(place or Path(tempfile.gettempdir())):
        folder = Path(tempfile.mkdtemp(prefix=".pada-check-", dir=place))
    elsewhere = {"runs_folder": str(folder.parent), "name": folder.name, "shared_folder": ""}
    aside = _answer_at_once(config).model_copy(update=elsewhere)
    try:
        yield aside
    finally:
        wiring.close(aside)
        shutil.rmtree(folder, ignore_errors=True)  # on a network file system, a node may still hold its log
        if store := name_store(config, folder):
            ObjectStore(store).clear()


def _choose_place(config: RunConfig) -> Path | None:
    """Where the runs' folder is or would be, if jobs run on other machines that share it. None is the system's place for temporary files."""
    if config.compute.backend == "local" or name_store(config, Path()):
        return None
    runs = Path(config.runs_folder).absolute()
    return next(folder for folder in (runs, *runs.parents) if folder.is_dir())


def _answer_at_once(config: RunConfig) -> RunConfig:
    """The settings with teachers that are asked without batches, because a check should not take a day."""
    roles: tuple[Role, ...] = ("analyst", "generator", "judge")
    at_once: dict[str, ModelConfig] = {
        role: get_model(config, role).model_copy(update={"economy": None}) for role in roles
    }
    return config.model_copy(update={"models": config.models.model_copy(update=at_once)})


def _probe(
    config: RunConfig, adapters: Adapters, say: Callable[[str], None]
) -> tuple[tuple[Probe, ...], list[Finding]]:
    try:
        return tuple(probe_roles(_answer_at_once(config), adapters, say=say)), []
    except (BudgetExceededError, ArtifactError) as exc:
        return (), [blame(exc)]


def _report(found: RunCheck, tokens: TokenCounter | None, *, before: Sequence[Finding]) -> CheckReport:
    return CheckReport(
        files=found.files,
        labels=found.data.labels,
        findings=(*before, *found.findings),
        lengths=found.lengths.files if found.lengths else {},
        new_tokens=found.lengths.max_new_tokens if found.lengths else None,
        rows=_render(found, tokens),
    )


def _render(found: RunCheck, tokens: TokenCounter | None) -> tuple[RenderedRow, ...]:
    train = found.files.get("train")
    if train is None or tokens is None or found.lengths is None or not train.examples:
        return ()
    last = len(train.examples) - 1
    rendered = [_render_row(train.examples[i], train.wheres[i], tokens) for i in sorted({0, last // 2, last})]
    return tuple(row for row in rendered if row is not None)


def _render_row(example: Example, where: str, tokens: TokenCounter) -> RenderedRow | None:
    try:
        return RenderedRow(where, tokens.show(example), tokens.show_learned(example))
    except PadaError:
        return None  # it is a finding already
