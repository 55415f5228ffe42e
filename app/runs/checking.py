"""What `pada check` finds: how the rows are read, what the student gets of them, whether the teacher answers."""

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

from pydantic import BaseModel, Field

from pada_agent.app import wiring
from pada_agent.app.adapters.llm.providers import find_opening
from pada_agent.app.adapters.storage import model_store
from pada_agent.app.adapters.storage.datasets import FileDatasets
from pada_agent.core.chat import Role
from pada_agent.core.config import ModelConfig, RunConfig
from pada_agent.core.errors import ConfigError, PadaError, StructuredOutputError
from pada_agent.core.records import Example
from pada_agent.evaluation.rows.findings import Finding, stop, warn
from pada_agent.evaluation.rows.reading import ReadFile
from pada_agent.evaluation.rows.token_limits import FileLengths, Lengths
from pada_agent.evaluation.tasks.judge import Judge
from pada_agent.evaluation.tasks.registry import find_task_kind, make_task
from pada_agent.graph.context import Adapters
from pada_agent.graph.data_check import CheckedData, check_run_data
from pada_agent.graph.data_files import FileName
from pada_agent.graph.data_lengths import measure_lengths
from pada_agent.prompts.prompted_model import PromptedModel
from pada_agent.prompts.structured_call import structured_call

N_SHOWN = 3
"""Training rows that are shown as the student gets them: the first, one in the middle, the last."""


class RenderedRow(NamedTuple):
    """A training row as the student gets it."""

    where: str
    prompt: str
    learned: str


class Probe(NamedTuple):
    """One call of a teacher's role."""

    role: Role
    model: str
    seconds: float
    problem: str = ""
    """Empty: it answered in the form that was asked for."""


class CheckReport(NamedTuple):
    """All that was found out before anything is computed."""

    files: Mapping[FileName, ReadFile]
    labels: Mapping[FileName, Mapping[str, int]]
    lengths: Mapping[str, FileLengths]
    new_tokens: int | None
    """Tokens that the student may write."""
    rows: tuple[RenderedRow, ...]
    probes: tuple[Probe, ...]
    findings: tuple[Finding, ...]

    @property
    def stops(self) -> bool:
        """Whether a run with these settings would be refused."""
        return any(finding.stops for finding in self.findings)


class Readiness(BaseModel, extra="ignore"):
    """What a probe asks for."""

    ready: bool = Field(description="true")


def check_run(config: RunConfig, *, probe: bool = True, say: Callable[[str], None] = lambda _: None) -> CheckReport:
    """Read, count, render and ask, in a folder of its own that is removed again: no run's folder is made or touched.

    Args:
        say: told what is being done, before each part that may take seconds.

    Raises:
        ConfigError, ArtifactError: nothing can be found out, such as for a task that does not exist.
    """
    if apart := find_unusable(config):
        data = _check_rows_alone(config)
        return _report(data, None, findings=[*apart, *data.findings])
    with _connect(config) as adapters:
        say("reading the rows")
        machine = _check_machine(adapters)
        data = check_run_data(config, {}, datasets=adapters.datasets, task=adapters.task)
        say("reading the student's tokenizer")
        lengths, broken = _measure(config, data, adapters)
        rows = () if broken else _render(data, adapters)
        probes = tuple(_probe_all(config, adapters, say)) if probe else ()
        findings = [*machine, *data.findings, *(lengths.findings if lengths else []), *broken]
        findings += [*map(warn, adapters.warnings), *_tell_silent(probes)]
    return _report(data, lengths, findings=findings, rows=rows, probes=probes)


def find_unusable(config: RunConfig) -> list[Finding]:
    """Models that are not there, and settings of a teacher that cannot be used."""
    models = config.models
    teachers: list[tuple[Role, ModelConfig]] = [
        ("analyst", models.analyst),
        ("generator", models.generator),
        ("judge", models.judge),
    ]
    needed: list[Callable[[], object]] = [partial(model_store.resolve, config.student.model)]
    needed += [partial(model_store.resolve, models.embedder), partial(find_task_kind, config.task.name)]
    needed += [partial(find_opening, model, role) for role, model in teachers]
    found = [finding for find in needed for finding in _find_failure(find)]
    return list({finding.text: finding for finding in found}.values())


def _find_failure(find: Callable[[], object]) -> list[Finding]:
    try:
        find()
    except PadaError as exc:
        return [stop(str(exc), "settings")]
    return []


def _check_rows_alone(config: RunConfig) -> CheckedData:
    """The rows, where something else cannot be used; not those that are read with the help of a teacher."""
    try:
        task = make_task(config.task)
    except ConfigError:
        return CheckedData({}, {}, [])
    return check_run_data(config, {}, datasets=FileDatasets(), task=task)


def _report(
    data: CheckedData,
    lengths: Lengths | None,
    *,
    findings: list[Finding],
    rows: tuple[RenderedRow, ...] = (),
    probes: tuple[Probe, ...] = (),
) -> CheckReport:
    return CheckReport(
        files=data.files,
        labels=data.labels,
        lengths=lengths.files if lengths else {},
        new_tokens=lengths.max_new_tokens if lengths else None,
        rows=rows,
        probes=probes,
        findings=tuple(findings),
    )


def list_roles(config: RunConfig) -> list[Role]:
    """The roles that a run with these settings asks."""
    generation = config.generation
    writes = config.loop.max_iterations > 0 and generation.sources != "held_back"
    roles: list[tuple[Role, bool]] = [
        ("analyst", writes and generation.pattern_share > 0),
        ("generator", writes),
        ("judge", writes and config.quality.enabled),
    ]
    return [role for role, is_asked in roles if is_asked]


@contextmanager
def _connect(config: RunConfig) -> Iterator[Adapters]:
    with tempfile.TemporaryDirectory(prefix="pada-check-") as folder:
        models = config.models.model_copy(update=_answer_at_once(config))
        elsewhere = {"runs_folder": folder, "name": "check", "shared_folder": ""}
        aside = config.model_copy(update={**elsewhere, "models": models})
        try:
            yield wiring.connect(aside)
        finally:
            wiring.close(aside)


def _answer_at_once(config: RunConfig) -> dict[str, ModelConfig]:
    """The teachers, asked without batches: a probe should not take a day."""
    roles: tuple[Role, ...] = ("analyst", "generator", "judge")
    return {role: getattr(config.models, role).model_copy(update={"economy": None}) for role in roles}


def _check_machine(adapters: Adapters) -> list[Finding]:
    try:
        return [warn(text) for text in adapters.task.check_machine()]
    except PadaError as exc:
        return [stop(str(exc), "settings")]


def _measure(config: RunConfig, data: CheckedData, adapters: Adapters) -> tuple[Lengths | None, list[Finding]]:
    if not any(file.examples for file in data.files.values()):
        return None, []
    try:
        return measure_lengths(config, data.files, adapters), []
    except PadaError as exc:
        return None, [stop(str(exc), "settings")]


def _render(data: CheckedData, adapters: Adapters) -> tuple[RenderedRow, ...]:
    train = data.files.get("train")
    if train is None or adapters.tokens is None or not train.examples:
        return ()
    last = len(train.examples) - 1
    places = sorted({0, last // 2, last})[:N_SHOWN]
    tokens = adapters.tokens

    def render(example: Example, where: str) -> RenderedRow | None:
        try:
            return RenderedRow(where, tokens.show(example), tokens.show_learned(example))
        except PadaError:
            return None  # it is a finding already

    rendered = [render(train.examples[i], train.wheres[i]) for i in places]
    return tuple(row for row in rendered if row is not None)


def _probe_all(config: RunConfig, adapters: Adapters, say: Callable[[str], None]) -> Iterator[Probe]:
    roles = list_roles(config)
    if isinstance(adapters.task, Judge) and "judge" not in roles:
        roles.append("judge")
    asked: dict[Role, PromptedModel] = {
        "analyst": adapters.analyst,
        "generator": adapters.generator,
        "judge": adapters.judge,
    }
    failed: dict[str, str] = {}
    for role in roles:
        model: ModelConfig = getattr(config.models, role)
        if (key := model.model_dump_json()) in failed:  # the same model would be waited for again
            yield Probe(role, model.model, 0.0, failed[key])
            continue
        say(f"asking the {role}, {model.model}")
        temperature = config.generation.temperature if role == "generator" else 0.0
        probe = probe_role(role, asked[role], temperature=temperature)
        if probe.problem:
            failed[key] = probe.problem
        yield probe


def probe_role(role: Role, teacher: PromptedModel, *, temperature: float) -> Probe:
    """One short call with the parameters that the role is asked with in a run."""
    started = time.monotonic()
    problem = ""
    try:
        structured_call(
            teacher.model,
            "This is a test of the connection. Say that you are ready.",
            Readiness,
            wrap="object",
            temperature=temperature,
            max_output_tokens=teacher.max_output_tokens,
            tags={"prompt": "probe", "agent": role},
            max_reasks=0,
        )
    except PadaError as exc:
        problem = f"{exc}"
        if isinstance(exc, StructuredOutputError):
            problem = f"it answered, but not in the form that was asked for: {exc}"
    return Probe(role, teacher.model.name, time.monotonic() - started, problem)


def _tell_silent(probes: tuple[Probe, ...]) -> list[Finding]:
    """Roles of one model have one problem."""
    roles: dict[str, list[str]] = {}
    for probe in probes:
        if probe.problem:
            roles.setdefault(probe.problem, []).append(f"models.{probe.role}")
    return [stop(f"{', '.join(names)}: {problem}", "settings") for problem, names in roles.items()]
