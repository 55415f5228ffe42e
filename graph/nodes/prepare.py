"""Reads and checks the data, splits validation, and fixes the settings in the state."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from random import Random
from typing import Any, NamedTuple

from langchain_core.runnables import RunnableLambda
from langgraph.config import get_config
from langgraph.graph import StateGraph
from langgraph.runtime import get_runtime

from pada_agent.core.config import RunConfig
from pada_agent.core.config_files import parse_config
from pada_agent.core.errors import ConfigError, DatasetError
from pada_agent.core.ports import ArtifactStore
from pada_agent.core.progress import Progress
from pada_agent.core.recipes import find_recipe
from pada_agent.core.records import Example, Ref
from pada_agent.evaluation.definition_rows import DefinitionRows, make_definition_rows
from pada_agent.evaluation.rows.token_limits import explain_unlearnable
from pada_agent.graph.adapters import Adapters, Connect
from pada_agent.graph.channels import refuse_unread, start_anew
from pada_agent.graph.data_check import refuse
from pada_agent.graph.data_files import SPLITS
from pada_agent.graph.identity import identify
from pada_agent.graph.models import UNTOUCHED, TrainedModel
from pada_agent.graph.node_binding import in_thread, using, using_async
from pada_agent.graph.reporting import report_progress
from pada_agent.graph.run_check import RunCheck, check_everything
from pada_agent.graph.run_context import (
    RunContext,
    find_changed,
    is_group_of_settings,
    is_on_server,
    override_settings,
    read_context,
)
from pada_agent.graph.spans import span_key
from pada_agent.graph.state import DataSplits, PartialState, PrepareState, RunInput, RunState, list_channels
from pada_agent.graph.step_limit import check_step_limit
from pada_agent.graph.storing import put_rows
from pada_agent.prompts.rendering import check_overrides, check_recipe

_WITHIN = "|"
"""In the name that LangGraph gives a node's place: behind the place of a graph that it is within."""


class Begun(NamedTuple):
    """What is known of a run before its rows are read."""

    given: PartialState
    """The graph's input."""
    settings: RunConfig
    warnings: list[str]
    at: float
    """In Unix seconds."""


def make_prepare(connect: Connect) -> RunnableLambda[Any, PartialState]:
    """Make the first node, which reads the rows, checks them against each other and freezes the settings. It is the only one that reads
    the run's context, which LangGraph does not keep when a run is resumed.
    """

    def prepare(state: PrepareState) -> PartialState:
        begun = begin(state)
        with naming_input(begun.given), using(connect, begun.settings) as adapters:
            return read_rows(state, begun, adapters)

    async def aprepare(state: PrepareState) -> PartialState:
        begun = await in_thread(begin, state)
        with naming_input(begun.given):
            async with using_async(connect, begun.settings) as adapters:
                return await in_thread(read_rows, state, begun, adapters)

    return RunnableLambda(prepare, aprepare, name="prepare")


def begin(state: PrepareState) -> Begun:
    """Find the settings, and whether the run may take as many steps as it needs."""
    started = time.time()
    report_progress(Progress(stage="prepare", done=0, total=1))
    given, context = find_given(state), get_runtime().context
    refuse_misplaced(given, context, get_config().get("configurable", {}))
    with naming_input(given):
        settings = resolve_settings(state, given, context)
        steps = check_step_limit(settings, state["remaining_steps"] + 1)
    return Begun(given, settings, steps, started)


def read_rows(state: RunState, begun: Begun, adapters: Adapters) -> PartialState:
    """Read, check and store the rows, and return the state that the run begins with."""
    settings = begun.settings
    checked = check_everything(settings, begun.given, adapters)
    refuse(checked.findings)
    definitions = find_definitions(settings, checked, adapters)
    data = store_splits(settings, checked, adapters, definitions.rows)
    adapters.begin(identify(settings, data), "settings" in state)
    try_embedder(settings, checked.files["train"].examples[0], adapters)
    told = [*adapters.warnings, *checked.warnings, *definitions.warnings, *begun.warnings]
    update = {
        "settings": settings,
        "data": data,
        "iteration": 0,
        "models": {UNTOUCHED: TrainedModel(name=UNTOUCHED, iteration=None)},
        "warnings": told,
        "spans": {span_key("prepare", "0"): (begun.at, time.time())},
    }
    return start_anew(update, state, StateGraph(RunState).channels)


def refuse_misplaced(given: PartialState, context: object, configurable: Mapping[str, Any]) -> None:
    """Check that nothing that can only be meant as settings is where nobody reads it.

    Raises:
        ConfigError: settings are in the input or in `configurable`, or the context of a call that no larger graph makes is something else.
    """
    if wrong := [key for key in ("task", "model") if not isinstance(given.get(key, ""), str)]:
        raise ConfigError(
            f"input.{wrong[0]}: expected a name as text, but found {type(given[wrong[0]]).__name__}. Settings are passed as `context`,"
            " not as the graph's input, which within a larger graph is the parent's state"
        )
    if _WITHIN in configurable.get("checkpoint_ns", ""):
        return  # context and configuration are those of a larger graph
    found = read_context(context)
    if found is None and context is not None:
        raise ConfigError(
            f"context: expected a RunConfig or a mapping of settings, but found {type(context).__name__}. load_config(Path(…)) reads a"
            " settings file"
        )
    if is_on_server():
        return
    settings = {key: value for key, value in configurable.items() if is_group_of_settings(key, value)}
    own = found or RunConfig()
    if changed := find_changed(own, override_settings(own, RunContext(**settings))):
        raise ConfigError(
            f"configurable: settings are not read from there ({', '.join(changed)}). Pass them as `context`: graph.invoke({{}}, config,"
            " context=settings)"
        )


def find_given(state: RunState) -> PartialState:
    """The graph's input without blank texts, which a form sends for fields that were left empty."""
    values = {key: state.get(key) for key in RunInput.model_fields}
    return {key: v for key, v in values.items() if v is not None and not (isinstance(v, str) and not v.strip())}


@contextmanager
def naming_input(given: PartialState) -> Iterator[None]:
    """Add to an error about a text of the input that the text comes from there. In a larger graph, nobody may have meant it for the run."""
    try:
        yield
    except (ConfigError, DatasetError) as exc:
        named = [key for key, text in given.items() if isinstance(text, str) and text in str(exc)]
        if not named:
            raise
        kind = ConfigError if isinstance(exc, ConfigError) else DatasetError
        raise kind(
            f"{exc}\nSet by the graph's input, which within a larger graph is the parent's state: {', '.join(named)}"
        ) from exc


def resolve_settings(state: RunState, given: PartialState, context: object) -> RunConfig:
    """The settings of the run. A thread holds one run; when it is started again, only its budget may be another.

    Raises:
        ConfigError: the thread's run is finished, or was started with other settings.
        ArtifactError: this version cannot read its checkpoint.
    """
    settings = state.get("settings")
    if settings is None:
        return read_settings(given, context)
    if state.get("summary"):
        raise ConfigError(
            "this thread's run is finished. Start another on a new thread, with another `name`: a run keeps its folder"
        )
    refuse_unread(state, list_channels())
    wanted = read_settings(given, context, settings)
    if changed := find_changed(settings, wanted):
        raise ConfigError(
            f"this thread has a run with other settings ({', '.join(changed)}). Start yours on a new thread, with another"
            " `name`, or start this run again with its own settings"
        )
    return wanted


def read_settings(given: PartialState, context: object, own: RunConfig | None = None) -> RunConfig:
    """The settings in the context, overridden by those in the input.

    Args:
        own: the settings that the thread's run was started with. They hold for everything that is not named.

    Raises:
        ConfigError: there are no settings at all, or the input is not valid.
        PromptError: a prompt is not a valid template.
    """
    found = read_context(context)
    named = found.to_config() if isinstance(found, RunContext) else found
    if named is None:  # a larger graph's own context, or none
        if own is None and not given:
            raise ConfigError(
                "no settings: pass context=RunConfig(...) to the graph, or `context` over the API. A larger graph with this one"
                " as a node needs context_schema=RunConfig, or calls it in a node of its own"
            )
        named = RunConfig()
    values = (override_settings(own, named) if own else named).model_dump()
    for key, group, name in (("task", "task", "name"), ("model", "student", "model")):
        if value := given.get(key):
            values[group][name] = value
    for split in SPLITS:
        if isinstance(location := given.get(split), str):
            values["data"][split] = location
    config = parse_config(values, origin="input")
    check_overrides(config.prompts.overrides())
    check_recipe(find_recipe(config.generation.template))
    return config


def find_definitions(settings: RunConfig, checked: RunCheck, adapters: Adapters) -> DefinitionRows:
    """The definitions that every model is trained on as well, if the settings say so."""
    if not settings.data.train_on_definitions:
        return DefinitionRows([], [])
    train, *held_out = (
        checked.files[name].examples if name in checked.files else [] for name in ("train", "validation", "test")
    )
    return make_definition_rows(
        adapters.task,
        train,
        [row for rows in held_out for row in rows],
        explain_unlearnable=partial(explain_unlearnable, tokens=adapters.tokens, lora=settings.lora),
    )


def store_splits(
    settings: RunConfig, checked: RunCheck, adapters: Adapters, definitions: Sequence[Example] = ()
) -> DataSplits:
    """Store the checked rows, with validation divided into a diagnosis part and a selection part."""
    files = checked.files
    train, validation, test, held_back = (
        files[name].examples if name in files else [] for name in ("train", "validation", "test", "held_back")
    )
    shuffled = Random(f"split/{settings.seed}").sample(validation, len(validation))
    return DataSplits(
        train=_store(adapters.store, "train", train),
        validation=_store(adapters.store, "validation", shuffled),
        n_diagnosis=len(shuffled) - settings.data.count_selection(len(shuffled)),
        test=_store(adapters.store, "test", test) if test else None,
        definitions=_store(adapters.store, "definitions", definitions) if definitions else None,
        held_back=_store(adapters.store, "held-back", held_back) if held_back else None,
        max_new_tokens=checked.lengths.max_new_tokens if checked.lengths else None,
    )


def try_embedder(settings: RunConfig, row: Example, adapters: Adapters) -> None:
    """Embed one row, so that an embedder that cannot be used is found now and not after the first fine-tuning.

    Raises:
        ArtifactError, ConfigError: it cannot be used.
    """
    writes = settings.loop.max_iterations and settings.generation.written_share
    if writes and settings.guard.contamination_similarity is not None:
        adapters.embedder.embed([row.prompt])


def _store(store: ArtifactStore, split: str, examples: Sequence[Example]) -> Ref:
    return put_rows(store, f"rows-{split}", examples)
