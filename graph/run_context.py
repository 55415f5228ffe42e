"""The settings of a run: as LangGraph Studio shows them, and as nodes read them."""

from collections.abc import Mapping
from typing import Any, TypeVar

from langgraph.runtime import get_runtime
from pydantic import GetJsonSchemaHandler, ValidationInfo, field_validator
from pydantic_core import CoreSchema

from pada_agent.core.config import PromptsConfig, RunConfig
from pada_agent.core.settings import Settings
from pada_agent.graph.channels import refuse_unread
from pada_agent.graph.state import list_channels
from pada_agent.prompts.rendering import check_overrides, template_text

SettingsT = TypeVar("SettingsT", bound=Settings)


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
    """
    if "batch" not in state:  # batches are in no checkpoint
        refuse_unread(state, list_channels())
    settings: RunConfig = state["settings"]
    context: object = get_runtime().context
    if not isinstance(context, RunConfig):
        return settings  # a larger graph's own, or none
    return settings.model_copy(update={"budget": override_settings(settings.budget, context.budget)})


def override_settings(own: SettingsT, given: SettingsT) -> SettingsT:
    """The settings `own`, changed where `given` names a value. What it leaves to its default stays."""
    changes = {}
    for name in given.model_fields_set:
        before, after = getattr(own, name), getattr(given, name)
        changes[name] = override_settings(before, after) if isinstance(after, Settings) else after
    return own.model_copy(update=changes)
