"""Turns settings into real adapters. The only place that knows all of them. There is one set per settings, closed with the run."""

import resource
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock
from typing import NoReturn, TypeVar
from weakref import WeakValueDictionary

import psutil
from langchain_core.language_models import BaseChatModel

from pada_agent.agents.guards.registry import find_guards
from pada_agent.app.adapters.compute.backends import open_compute
from pada_agent.app.adapters.compute.token_counter import StudentTokenCounter
from pada_agent.app.adapters.embedder import OWN, AbsentEmbedder, SentenceEmbedder
from pada_agent.app.adapters.llm import local_engine
from pada_agent.app.adapters.llm.chat_models import ChatModelAdapter, family_of, make_language_model
from pada_agent.app.adapters.llm.limits import Budget, CallGate
from pada_agent.app.adapters.llm.response_cache import ResponseCache
from pada_agent.app.adapters.storage import model_store
from pada_agent.app.adapters.storage.artifacts import FileArtifactStore, explain_writing, make_folder
from pada_agent.app.adapters.storage.datasets import FileDatasets
from pada_agent.app.adapters.storage.hub_commits import pin_commit
from pada_agent.app.prerequisites import find_missing, warn_about_prices
from pada_agent.app.results.publish import publish_run
from pada_agent.app.run_folder.layout import CALLS
from pada_agent.app.run_folder.ownership import begin_run, check_folder, end_run
from pada_agent.core.chat import ChatRequest, Role
from pada_agent.core.compute_config import ComputeConfig, count_processes
from pada_agent.core.config import BudgetConfig, ModelConfig, RunConfig, hash_config
from pada_agent.core.errors import ConfigError, ModelUnavailableError, PadaError
from pada_agent.core.jobs import TokenizerJob
from pada_agent.core.ports import ArtifactStore, Compute, Embedder, LanguageModel, TokenCounter
from pada_agent.core.progress import Progress
from pada_agent.evaluation.tasks.registry import make_task
from pada_agent.graph.adapters import Adapters
from pada_agent.graph.data_check import refuse
from pada_agent.graph.reporting import report_progress
from pada_agent.prompts.prompted_model import PromptedModel

KeyT = TypeVar("KeyT", bound=Hashable)
PartT = TypeVar("PartT")


_connections: dict[str, Adapters] = {}
_budgets: WeakValueDictionary[str, Budget] = WeakValueDictionary()
"""For as long as a run's adapters are in use. A budget keeps the run's record of calls open."""
_stopped: set[str] = set()
"""Runs that a signal has stopped. Nodes that still ask for adapters get none, so that no further call is paid for."""
_lock = Lock()


@dataclass(frozen=True)
class Warm:
    """What runs of one process share, at the same time or one after the other."""

    computes: dict[tuple[Path, ComputeConfig], Compute] = field(default_factory=dict)
    embedders: dict[str, SentenceEmbedder] = field(default_factory=dict)
    caches: dict[Path, ResponseCache] = field(default_factory=dict)
    gates: dict[str, CallGate] = field(default_factory=dict)


@dataclass(frozen=True)
class UnusedModel:
    """In place of an LLM or embedder that cannot be opened and that a run with these settings does not use. If it is used
    after all, it raises what is wrong with it.
    """

    name: str
    problem: PadaError

    def complete(self, request: ChatRequest) -> NoReturn:
        del request
        raise self.problem

    def embed(self, texts: Sequence[str]) -> NoReturn:
        del texts
        raise self.problem

    def close(self) -> None:
        """Nothing to release."""


_warm: list[Warm] = []
"""Has one entry while runs share."""


def connect(config: RunConfig) -> Adapters:
    """The adapters for these settings. They are made with the first call. The budget of the latest call applies.

    Raises:
        ConfigError: lists everything that the settings need and that is missing.
    """
    key = _key(config)
    if key in _stopped:
        raise ModelUnavailableError("the run was stopped")
    with _lock:
        adapters = _connections.get(key)  # whoever closes them takes no lock
        if adapters is None:
            adapters = _connections[key] = _open(config, key)
        if budget := _budgets.get(key):
            budget.limits = config.budget
        return adapters


@contextmanager
def keep_warm() -> Iterator[None]:
    """Inside, runs with the same `shared_folder` share one compute backend and one store of replies, all runs share
    embedders and the limits of a model, and embedders and engines stay loaded for the next run.
    """
    warm = Warm()
    _warm.append(warm)
    local_engine.keep_idle(True)
    try:
        yield
    finally:
        _cool_down()


def stop(config: RunConfig) -> None:
    """Like `close`, but nothing is kept warm: no further call begins, and running work ends. Safe in a signal handler."""
    _stopped.add(_key(config))
    _cool_down()
    _end(config)


def count_calls_under_way(config: RunConfig) -> int:
    """Number of the run's LLM calls that have begun and not ended. Safe in a signal handler."""
    budget = _budgets.get(_key(config))
    return budget.n_in_flight if budget else 0


def is_stopped(config: RunConfig) -> bool:
    """Whether `stop` has ended the run."""
    return _key(config) in _stopped


def allow(config: RunConfig) -> None:
    """Let the run connect again, when it is started or resumed after it was stopped in this process."""
    _stopped.discard(_key(config))


def _cool_down() -> None:
    while _warm:
        warm = _warm.pop()
        for compute in warm.computes.values():
            compute.close()
        for gate in warm.gates.values():
            gate.close()
    local_engine.keep_idle(False)


def close(config: RunConfig) -> None:
    """End the run's worker and engine. Harmless if there are none. Safe in a signal handler, because it takes no lock."""
    _end(config)
    _budgets.pop(_key(config), None)


def is_open(config: RunConfig) -> bool:
    """Whether there are adapters for these settings."""
    return _key(config) in _connections


def _end(config: RunConfig) -> None:
    if adapters := _connections.get(_key(config)):
        adapters.close()


def _key(config: RunConfig) -> str:
    """Leaves out the budget, because a run may continue with another one."""
    return hash_config(config.model_copy(update={"budget": BudgetConfig()}))


def warn_about_judge(config: RunConfig) -> tuple[str, ...]:
    """A warning if judge and generator are of one model family, because a judge favors its own kind (self-enhancement
    bias; paper, quality control).
    """
    generator, judge = family_of(config.models.generator.model), family_of(config.models.judge.model)
    if generator != judge or not config.quality.enabled:
        return ()
    return (f"the judge is from the generator's family ({judge}), so its ratings may favor the generator's rows",)


def _open(config: RunConfig, key: str) -> Adapters:
    folder = Path(config.runs_folder) / config.name
    check_folder(folder)
    refuse(find_missing(config))
    shared = Path(config.runs_folder) / config.shared_folder if config.shared_folder else None
    if shared:
        link_objects(folder, config.shared_folder)
    cache = ResponseCache(folder / CALLS, shared=_find_cache(shared / CALLS) if shared else None)
    budget = _budgets[key] = Budget(config.budget, cache.totals)
    gates = warm.gates if (warm := _find_warm()) else {}
    store = FileArtifactStore(folder / "objects")
    compute = _find_compute(config, shared or folder)
    judge = _prompt(config.models.judge, "judge", config, cache, budget, gates)
    analyst = _prompt(config.models.analyst, "analyst", config, cache, budget, gates)
    generator = _prompt(config.models.generator, "generator", config, cache, budget, gates)

    places: list[Path] = []

    def begin(identity: str, again: bool) -> None:
        places.append(begin_run(folder, identity, again=again))

    def retire() -> None:
        if _connections.get(key) is adapters:
            _connections.pop(key, None)
            for place in places:
                end_run(place)

    def close_all() -> None:
        retire()
        if not any(compute in warm.computes.values() for warm in _warm):
            compute.close()
        if not any(gates is warm.gates for warm in _warm):
            for gate in gates.values():
                gate.close()
        for role in (analyst, generator, judge):
            role.model.close()

    student = _pin_student(config, store)
    adapters = Adapters(
        datasets=FileDatasets(),
        store=store,
        compute=compute,
        embedder=_find_embedder(config.models.embedder),
        task=make_task(config.task, judge),
        analyst=analyst,
        generator=generator,
        judge=judge,
        student=student,
        guards=find_guards(config.guard.plugins),
        make_tokens=lambda chosen: _make_counter(config, student, chosen),
        usage=cache.totals_by_role,
        usage_by_batch=lambda: cache.totals_by_tag("batch"),
        publish=lambda summary, chosen: publish_run(summary, folder, chosen),
        close=close_all,
        begin=begin,
        retire=retire,
        peak_memory_mb=measure_peak_memory,
        warnings=(*warn_about_judge(config), *warn_about_prices(config)),
    )
    return adapters


@contextmanager
def open_counter(config: RunConfig) -> Iterator[TokenCounter]:
    """The student's tokenizer without the other adapters, to measure rows while a teacher is missing.

    Raises:
        ConfigError: the student has no such revision.
    """
    folder = Path(config.runs_folder) / config.name
    student = _pin_student(config, FileArtifactStore(folder / "objects"))
    compute = open_compute(config, folder)
    try:
        yield _make_counter(config, student, compute)
    finally:
        compute.close()


def link_objects(folder: Path, shared: str) -> None:
    """Link `objects` in the run's folder to the shared objects, so that all paths below the run's folder stay the same.

    Raises:
        ConfigError: the run has begun with other objects. Jobs would leave their results where it does not look for them.
    """
    objects = folder / "objects"
    wanted = make_folder(folder.parent / shared / "objects")
    make_folder(folder)
    if not objects.exists():
        with explain_writing(objects):
            objects.symlink_to(Path("..") / shared / "objects")
    if objects.resolve() != wanted.resolve():
        raise ConfigError(
            f"shared_folder: {folder} has begun with objects of its own or of another shared folder ({objects.resolve()}), so it cannot"
            f" use those of {shared!r} now. Set it back, or start a run under another `name`."
        )


def _pin_student(config: RunConfig, store: ArtifactStore) -> str:
    return pin_commit(str(model_store.resolve(config.student.model)), config.student.revision, store)


def _make_counter(config: RunConfig, student: str, compute: Compute) -> StudentTokenCounter:
    return StudentTokenCounter(compute, _make_tokenizer_job(config, student), config.student.chat)


def _make_tokenizer_job(config: RunConfig, student: str) -> TokenizerJob:
    return TokenizerJob(
        reading=2,
        student=student,
        target_modules=config.lora.target_modules,
        load_in=config.student.load_in,
        engine=config.student.engine,
        n_processes=count_processes(config.compute),
    )


def _find_compute(config: RunConfig, folder: Path) -> Compute:
    return _share(lambda warm: warm.computes, (folder, config.compute), lambda: open_compute(config, folder))


def _find_embedder(name: str) -> Embedder:
    if name.startswith(OWN):
        return AbsentEmbedder(name)
    try:
        model = str(model_store.resolve(name))
    except PadaError as exc:  # `find_missing` has refused it where it is used
        return UnusedModel(name, exc)
    return _share(lambda warm: warm.embedders, model, lambda: SentenceEmbedder(model))


def _find_cache(path: Path) -> ResponseCache:
    return _share(lambda warm: warm.caches, path, lambda: ResponseCache(path))


def _share(choose: Callable[[Warm], dict[KeyT, PartT]], key: KeyT, make: Callable[[], PartT]) -> PartT:
    """What runs of one process share under this key, or the run's own if they share nothing."""
    if (warm := _find_warm()) is None:
        return make()
    parts = choose(warm)
    if key not in parts:
        parts[key] = make()
    return parts[key]


def _find_warm() -> Warm | None:
    """A signal may remove it at any moment."""
    return next(iter(_warm), None)


def _prompt(
    model: ModelConfig, role: Role, config: RunConfig, cache: ResponseCache, budget: Budget, gates: dict[str, CallGate]
) -> PromptedModel:
    """Roles that share a model share its limits."""
    gate = gates.setdefault(model.limits_key, CallGate(model))
    language_model: LanguageModel
    try:
        language_model = make_language_model(model, role=role, cache=cache, budget=budget, gate=gate, report=_report)
    except PadaError as exc:  # `find_missing` has refused it where it is used
        language_model = UnusedModel(model.model, exc)
    return PromptedModel(language_model, config.prompts.overrides(), model.max_output_tokens)


def _report(progress: Progress) -> None:
    with suppress(RuntimeError):  # outside of a graph nobody listens
        report_progress(progress)


def bring_chat_model(role: PromptedModel, chat: BaseChatModel) -> PromptedModel:
    """A role of the standard wiring, answered by the application's own LangChain model.

    Name it `own:NAME` in the settings. It is cached, limited, counted and traced like any other, asked for whole
    answers, and must accept `temperature` and `max_tokens` per call.

    Raises:
        TypeError: `chat` is no chat model, or `role` is answered by code.
    """
    if not isinstance(chat, BaseChatModel):
        raise TypeError(
            f"expected a BaseChatModel, not {type(chat).__name__}: pass the chat model itself, without bind, with_retry or"
            " with_fallbacks, and give its parameters to its constructor"
        )
    if not isinstance(role.model, ChatModelAdapter):
        raise TypeError(f"expected a role of the standard wiring, not one answered by {type(role.model).__name__}")
    return replace(role, model=role.model.answered_by(chat))


def measure_peak_memory() -> float:
    """Sum of the peak resident memory of this process and of its living children, in MiB.

    This is an upper bound, because the peaks need not coincide, and shared pages count twice.
    """
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return (own + sum(_peak_kib(child.pid) for child in psutil.Process().children(recursive=True))) / 1024


def _peak_kib(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().split("\n")
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0)
