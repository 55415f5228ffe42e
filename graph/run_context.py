"""The settings of a run: as LangGraph Studio shows them, and as nodes read them."""

from collections.abc import Mapping
from os.path import normpath
from typing import Any, TypeVar

from langgraph.config import get_config
from langgraph.runtime import get_runtime
from pydantic import GetJsonSchemaHandler, ValidationError, ValidationInfo, field_validator
from pydantic_core import CoreSchema

from pada_agent.core.config import PromptsConfig, RunConfig
from pada_agent.core.config_files import flatten
from pada_agent.core.errors import ConfigError
from pada_agent.core.setting_kinds import is_settings
from pada_agent.core.setting_problems import list_problems
from pada_agent.core.settings import Settings
from pada_agent.graph.channels import refuse_unread
from pada_agent.graph.state import list_channels
from pada_agent.prompts.rendering import check_overrides, template_text

SettingsT = TypeVar("SettingsT", bound=Settings)

MAX_CHANGED = 5
"""Maximum number of keys named in an error about other settings."""
_OF_INPUT = ("task.name", "student.model", "data.train", "data.validation", "data.test")
"""Settings that the graph's input takes precedence over. The input is not kept, so these may differ from the context's."""
_PLACE = ("name", "runs_folder")


class EditablePrompts(PromptsConfig):
    """Prompts whose schema has the built-in texts as defaults, so that a person edits them instead of starting from nothing."""

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        schema = handler(core_schema)
        for name, prompt in handler.resolve_ref_schema(schema)["properties"].items():
            prompt["default"] = template_text(name)
        return schema

    @field_validator("*")
    @classmethod
    def _leave_ours(cls, text: str, info: ValidationInfo) -> str:
        """Treats a text that a form sends back unchanged, but for the ends of lines, as no override."""
        return "" if _without_ends(text) == _without_ends(template_text(str(info.field_name))) else text


def _without_ends(text: str) -> list[str]:
    """The lines of a text without what forms change: the kind of line ends, and white space before and behind the text."""
    return [line.rstrip() for line in text.strip().split("\n")]


class RunContext(RunConfig):
    """The settings of a run, as LangGraph Studio shows them."""

    prompts: EditablePrompts = EditablePrompts()
    """The agents' prompts: Jinja templates, rendered in a sandbox."""

    def __init__(self, **values: Any) -> None:
        """LangGraph makes the context that is given as a mapping with this.

        Raises:
            ConfigError: one line per problem, each with its key.
        """
        try:
            super().__init__(**values)
        except ValidationError as exc:
            problems = list_problems(exc.errors(), type(self))
            raise ConfigError("\n".join(f"context: {key}: {problem}" for key, problem in problems)) from exc

    def to_config(self) -> RunConfig:
        """The same settings in the form that the state keeps, naming the same values.

        Raises:
            PromptError: a prompt is not a valid template.
        """
        check_overrides(self.prompts.overrides())
        return RunConfig.model_validate(self.model_dump(exclude_unset=True))


def find_settings(state: Mapping[str, Any]) -> RunConfig:
    """The run's settings, with the limits of the budget that the context of this call of the graph names. Only inside a node.

    Raises:
        ArtifactError: the state is from a checkpoint that this version cannot read.
        ConfigError: the thread has no run, or the context names other settings than the run has (not on a server).
    """
    if "settings" not in state:
        raise ConfigError("this thread has no run to continue. Start one: call the graph with {} as its input")
    is_batch = "batch" in state
    if not is_batch:  # batches are in no checkpoint
        refuse_unread(state, list_channels())
    settings: RunConfig = state["settings"]
    given = read_context(get_runtime().context)
    if given is None:
        return settings
    wanted = override_settings(settings, given)
    if not is_batch and not is_on_server() and (changed := _find_ignored(settings, wanted)):
        raise ConfigError(
            f"this thread has a run with other settings ({', '.join(changed)}), and only its budget may change. Continue it with its"
            " own settings, or without any; or start yours on a new thread, with another `name`"
        )
    return settings.model_copy(update={"budget": wanted.budget})


def read_context(context: object) -> RunConfig | None:
    """The settings in the context of a call, without what an application's own class adds to them. None if it is something else: that of
    a larger graph, or none.

    Raises:
        ConfigError: it is a mapping with groups of settings, as a larger graph without `context_schema` passes on, and they are not valid.
    """
    if isinstance(context, Mapping) and any(is_group_of_settings(key, value) for key, value in context.items()):
        return RunContext(**context)
    if not isinstance(context, RunConfig) or type(context) in (RunConfig, RunContext):
        return context if isinstance(context, RunConfig) else None
    return RunConfig.model_validate(context.model_dump(include=set(RunConfig.model_fields), exclude_unset=True))


def is_on_server() -> bool:
    """Whether a LangGraph server runs the graph. It puts the settings of the assistant into the context of every call, and those of the
    thread's earlier calls into `configurable`, so they are not the caller's words there. Only inside a node."""
    return "assistant_id" in get_config().get("configurable", {})


def is_group_of_settings(key: object, value: object) -> bool:
    """Whether it can only be meant as settings: `loop={"max_iterations": 1}`."""
    field = RunConfig.model_fields.get(str(key))
    return field is not None and is_settings(field.annotation) and isinstance(value, Mapping)


def find_changed(before: RunConfig, after: RunConfig) -> list[str]:
    """Keys of the settings outside the budget that differ: the first few, and "…" for more."""
    return _cut(_list_changed(before, after))


def _find_ignored(own: RunConfig, wanted: RunConfig) -> list[str]:
    """The same for a run that continues, in which what its input has named counts, and so does its folder under any path."""
    same = _PLACE if _locate(own) == _locate(wanted) else ()
    return _cut([key for key in _list_changed(own, wanted) if key not in (*_OF_INPUT, *same)])


def _list_changed(before: RunConfig, after: RunConfig) -> list[str]:
    if before.model_copy(update={"budget": after.budget}) == after:
        return []
    old, new = flatten(before.model_dump()), flatten(after.model_dump())
    return [k for k in {**old, **new} if not k.startswith("budget.") and old.get(k, ...) != new.get(k, ...)]


def _cut(keys: list[str]) -> list[str]:
    return keys[:MAX_CHANGED] + ["…"] * (len(keys) > MAX_CHANGED)


def _locate(settings: RunConfig) -> str:
    """Of the path alone: async runs call this where the file system must not be waited for."""
    return normpath(f"{settings.runs_folder}/{settings.name}")


def override_settings(own: SettingsT, given: SettingsT) -> SettingsT:
    """The settings `own`, changed where `given` names a value. What it leaves to its default stays."""
    changes = {}
    for name in given.model_fields_set:
        before, after = getattr(own, name), getattr(given, name)
        changes[name] = override_settings(before, after) if isinstance(after, Settings) else after
    return own.model_copy(update=changes)
