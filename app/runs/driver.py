"""Starts or continues a run: the graph, with the checkpoints in the run's directory."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command, StateSnapshot

from pada_agent.app import wiring
from pada_agent.app.run_folder import claiming, key_addresses, layout
from pada_agent.app.run_folder.checkpoints import THREAD_ID, check_objects, open_checkpoints
from pada_agent.app.run_folder.events import SESSION_START, OnEvent, RunEvent, append_event
from pada_agent.app.run_folder.key_addresses import KeyUse
from pada_agent.app.runs import checking, stopping
from pada_agent.core.config import RunConfig
from pada_agent.core.errors import (
    AgentError,
    ArtifactError,
    BudgetExceededError,
    ConfigError,
    NonFiniteLossError,
    PadaError,
    TrainingError,
)
from pada_agent.core.progress import Progress
from pada_agent.core.records import Record
from pada_agent.graph.builder import build_graph
from pada_agent.graph.step_limit import DEFAULT_LIMIT, count_most_steps
from pada_agent.graph.summary import RunSummary

MOST_EQUAL, MOST_UNUSABLE = 3, 20
"""How many unusable answers in a row are taken, equal ones and in all: a function that does not look at `problem` would give them for ever."""
THREAD: RunnableConfig = {"configurable": {"thread_id": THREAD_ID}}
_OLD_ROWS = (
    "The run continues with the rows that it read at its start. To use the new ones, start a run under another `name`."
)
_one_opens = Lock()
"""pydantic and LangChain parse the source of what a graph is made of, and CPython 3.11 fails where two threads make syntax trees
("AST constructor recursion depth mismatch")."""


class Question(Record):
    """What the run waits for a person to decide."""

    id: str
    payload: dict[str, Any]
    """`review` says what it is about (`strategies`, `data` or `cost`), and `answer_schema` how to answer. The rest is for reading."""


Answer = Callable[[Question], Any]
"""Returns the decision as JSON: `"approve"`, or a mapping that follows `payload["answer_schema"]`. None leaves the run waiting."""


class RunOutcome(Record):
    """The state of a run: finished with a summary, or waiting for answers."""

    folder: Path
    summary: RunSummary | None = None
    questions: tuple[Question, ...] = ()


def leave_waiting(question: Question) -> None:
    """Give no answer. Approval is never assumed."""
    del question


AllowKeys = Callable[[tuple[KeyUse, ...]], bool]


def allow_no_keys(uses: tuple[KeyUse, ...]) -> bool:
    """Allow no keys to be sent."""
    del uses
    return False


def ignore(event: RunEvent) -> None:
    """Ignore events. They are in `events.jsonl` in any case."""
    del event


def start_run(config: RunConfig, *, on_event: OnEvent = ignore, answer: Answer = leave_waiting) -> RunOutcome:
    """Start the run in `runs_folder/name`, or continue it if it is there with the same settings.

    Raises:
        ConfigError: the folder contains another run, or the settings name something that does not exist.
        ArtifactError: the run in the folder is damaged, or was started in another folder.
        KeyboardInterrupt: the user stopped it. The message says how to continue.
    """
    if not isinstance(config, RunConfig):
        raise ConfigError(
            f"expected settings (RunConfig), but found {type(config).__name__}. Read a settings file first: run(load_config(path))"
        )
    with claiming.claim_folder(config) as claim:
        key_addresses.remember(key_addresses.find_key_uses(config))
        return _drive(claim.folder, config, on_event, answer)


def resume_run(
    folder: Path | str,
    *,
    on_event: OnEvent = ignore,
    answer: Answer = leave_waiting,
    changed: Callable[[RunConfig], RunConfig] | None = None,
    allow_keys: AllowKeys = allow_no_keys,
) -> RunOutcome:
    """Continue the run in `folder`. For a finished run, return its summary again.

    Args:
        changed: makes other settings from those of the run. It starts over with them, and reuses finished work that
            does not depend on the changes.
        allow_keys: asks whether keys may be sent to addresses that the folder's settings name and to which no run of
            this user has sent them before. The folder may come from someone else.

    Raises:
        ArtifactError: this is not a run's folder, or it is damaged.
        ConfigError: settings are changed although the run is finished, or keys may not be sent.
        KeyboardInterrupt: the user stopped it. The message says how to continue.
    """
    folder = Path(folder)
    config = layout.load_run_config(folder)
    if changed is None and layout.is_finished(folder):
        return RunOutcome(folder=folder, summary=layout.load_summary(folder))
    layout.check_place(folder, config)
    _check_keys(folder, config, changed(config) if changed else config, allow_keys)
    with layout.locked(folder):
        if changed is not None:
            config = claiming.change_settings(folder, config, changed(config))
        else:
            claiming.check_models(folder, config)
        return _drive(folder, config, on_event, answer)


def _check_keys(folder: Path, found: RunConfig, wanted: RunConfig, allow_keys: AllowKeys) -> None:
    """Asks only about addresses from the folder. What the caller's own settings add is allowed by the caller."""
    uses = key_addresses.find_key_uses(wanted)
    unknown = key_addresses.find_unknown(uses & key_addresses.find_key_uses(found))
    if unknown and not allow_keys(unknown):
        raise key_addresses.refuse(folder, unknown)
    key_addresses.remember(uses)


def _drive(folder: Path, config: RunConfig, on_event: OnEvent, answer: Answer) -> RunOutcome:
    """Run the graph in a folder that the caller has locked."""

    def record(event: RunEvent) -> None:
        try:
            append_event(folder / layout.EVENTS, event)
        except ArtifactError:
            if event.mode == "updates":  # without it, nobody would know that there is work
                wiring.close(config)  # nodes in flight would be waited for
                raise
        on_event(event)

    wiring.allow(config)
    with ExitStack() as held:
        with _one_opens:
            held.enter_context(_noting_errors(folder))
            saver = held.enter_context(_checkpoints(folder))
            held.enter_context(_stoppable(folder, config))
            _connect(config)
            graph = build_graph(wiring.connect).compile(checkpointer=saver)
            state = graph.get_state(THREAD, subgraphs=True)
            for values in _read_states(state):
                check_objects(values, folder / "objects")
        _compare_with_start(folder, config, state.values.get("settings"), on_event)
        _note_start(folder)
        with _say_how_to_go_on(folder):
            questions = _run_to_end(graph, config, record, answer)
        if not questions and not layout.is_finished(folder):  # its summary was deleted, as for a damaged one is advised
            adapters = wiring.connect(config)
            adapters.publish(graph.get_state(THREAD).values["summary"], adapters.store)
    if questions:
        return RunOutcome(folder=folder, questions=questions)
    return RunOutcome(folder=folder, summary=layout.load_summary(folder))


def _compare_with_start(folder: Path, config: RunConfig, begun_with: RunConfig | None, on_event: OnEvent) -> None:
    """Tell of files with rows that are others now than when the run read them.

    Args:
        begun_with: the settings in the checkpoint. None if nothing has been read yet.

    Raises:
        ConfigError: the folder's settings are others than those in the checkpoint, which would be obeyed.
    """
    other_rows = claiming.find_other_rows(folder, config)
    if begun_with is None:
        if other_rows:
            claiming.write_manifest(folder, config)
        return
    if changed := claiming.find_changed(begun_with, config):
        raise ConfigError(
            f"{folder / layout.CONFIG}: was changed after the run had begun with other settings ({', '.join(changed)})."
            f" Restore the file, then change settings with: {layout.word_resume(folder)} --set A.B=C"
        )
    if other_rows:
        told = f"Warning: {', '.join(other_rows)} have changed. {_OLD_ROWS}"
        on_event(RunEvent(mode="custom", data=Progress(stage="resume", done=1, total=1, detail=told).model_dump()))


def _note_start(folder: Path) -> None:
    """Records that the run is running again: the time since the last event was a pause."""
    begun = Progress(stage=SESSION_START, done=0, total=1)
    with suppress(ArtifactError):
        append_event(folder / layout.EVENTS, RunEvent(mode="custom", data=begun.model_dump()))


def _connect(config: RunConfig) -> None:
    """Connect before anything is computed, because a setting may name what is not there."""
    try:
        wiring.connect(config)
    except ConfigError:
        checking.refuse_missing(config)  # with what is wrong with the rows
        raise


@contextmanager
def _noting_errors(folder: Path) -> Iterator[None]:
    """Records an error, so that the same command may be repeated with other settings."""
    claiming.forget_error(folder)
    try:
        yield
    except PadaError as exc:
        claiming.note_error(folder, str(exc))
        raise


@contextmanager
def _say_how_to_go_on(folder: Path) -> Iterator[None]:
    """Adds how to continue to errors that may pass by themselves."""
    try:
        yield
    except (BudgetExceededError, NonFiniteLossError):
        raise  # the same settings would end the same way
    except (AgentError, TrainingError) as exc:
        exc.way_on = (
            f"Finished work is kept. To continue with the same settings: {layout.word_resume(folder)}\n"
            f"With a changed setting: {layout.word_resume(folder)} --set A.B=C"
        )
        raise


def _run_to_end(
    graph: CompiledStateGraph[Any, Any, Any, Any], config: RunConfig, on_event: OnEvent, answer: Answer
) -> tuple[Question, ...]:
    """The questions left open. Empty if the run is finished.

    Raises:
        ConfigError: `answer` gives unusable answers again and again.
    """
    given: list[list[Any]] = []
    while not _is_finished(snapshot := graph.get_state(THREAD)):
        questions = [_read_question(i.id, i.value) for i in snapshot.interrupts]
        replies = {q.id: reply for q in questions if (reply := answer(q)) is not None}
        if questions and not replies:
            return tuple(questions)
        problem = _find_problem(questions)
        given = [*given, list(replies.values())] if problem else []
        if problem and (len(given) > MOST_UNUSABLE or given[-MOST_EQUAL:] == given[-1:] * MOST_EQUAL):
            raise ConfigError(f"the answer to the review of {problem}")
        if _is_prepared(snapshot.values):
            _ask_teacher(config, on_event)
        for event in _stream(graph, _keep_place(config, snapshot), _next_input(snapshot, replies)):
            on_event(event)
            if _is_prepared(event.data.get("prepare", {})):  # the next node has not begun
                _ask_teacher(config, on_event)
    return ()


def _keep_place(config: RunConfig, snapshot: StateSnapshot) -> RunConfig:
    """The settings with the run's folder as its state names it. It is the same folder, maybe under another path."""
    begun_with = snapshot.values.get("settings")
    return config.model_copy(update={key: getattr(begun_with, key) for key in claiming.PLACE}) if begun_with else config


def _find_problem(questions: Sequence[Question]) -> str:
    """Why an earlier answer could not be used. Empty if none was given."""
    problems = ((q.payload.get("review"), q.payload.get("problem")) for q in questions)
    return next((f"{review} cannot be used: {problem}" for review, problem in problems if problem), "")


def _read_states(snapshot: StateSnapshot) -> Iterator[Mapping[str, Any]]:
    """The run's, and those of its branches that are under way."""
    yield snapshot.values
    for task in snapshot.tasks:
        if isinstance(task.state, StateSnapshot):
            yield from _read_states(task.state)


def _is_prepared(state: Mapping[str, Any]) -> bool:
    """Whether the rows are read and nothing is computed yet."""
    return [model.validation for model in state.get("models", {}).values()] == [None]


def _ask_teacher(config: RunConfig, on_event: OnEvent) -> None:
    """Ask the teacher before the student is measured. Otherwise, a problem with it would be noticed only after the first fine-tuning."""

    def say(text: str) -> None:
        on_event(RunEvent(mode="custom", data=Progress(stage="probe", done=0, total=1, detail=text).model_dump()))

    checking.refuse_silent(config, wiring.connect(config), say=say)


def _is_finished(snapshot: StateSnapshot) -> bool:
    # Not `next`: it leaves out nodes that are done but whose step was cut off before it was saved.
    return snapshot.created_at is not None and not snapshot.tasks


def _next_input(snapshot: StateSnapshot, replies: Mapping[str, Any]) -> Any:
    if replies:
        return Command(resume=dict(replies))
    return {} if snapshot.created_at is None else None


def _read_question(question_id: str, value: Any) -> Question:
    return Question(id=question_id, payload=value if isinstance(value, dict) else {"message": str(value)})


def _stream(graph: CompiledStateGraph[Any, Any, Any, Any], config: RunConfig, values: Any) -> Iterator[RunEvent]:
    # Checkpoints are written before the next node starts: a killed process loses the node in flight, no more.
    thread: RunnableConfig = {**THREAD, "recursion_limit": max(DEFAULT_LIMIT, count_most_steps(config))}
    # Every limit is named, also where there is none, because the checkpoints have the budget of the start.
    context = config.model_copy(update={"budget": config.budget.model_copy(update=dict(config.budget))})
    steps = graph.stream(
        values, thread, context=context, stream_mode=["updates", "custom"], subgraphs=True, durability="sync"
    )
    for namespace, mode, data in steps:
        if "__interrupt__" not in data:
            yield RunEvent(namespace=namespace, mode=mode, data=data)


@contextmanager
def _checkpoints(folder: Path) -> Iterator[SqliteSaver]:
    with open_checkpoints(folder / layout.CHECKPOINTS) as saver:
        saver.setup()
        yield saver


@contextmanager
def _stoppable(folder: Path, config: RunConfig) -> Iterator[None]:
    """Close the run's engines and workers at the end, and at once when it is stopped, by a signal or by whoever runs it in a
    thread: LangGraph waits for nodes in flight, and those wait for them."""

    def stop() -> None:
        wiring.stop(config)
        raise KeyboardInterrupt(way_on)

    way_on = f"resume with: {layout.word_resume(folder)}"
    signals = stopping.obeying_signals(
        stop,
        way_on=way_on,
        count_calls=lambda: wiring.count_calls_under_way(config),
        seconds=lambda: stopping.find_seconds(config),
    )
    try:
        with signals:
            yield
    except PadaError as exc:
        if wiring.is_stopped(config):  # that is why it failed
            raise KeyboardInterrupt(way_on) from exc
        raise
    finally:
        wiring.close(config)
