"""A model together with its prompts. Agents talk to LLMs only through this."""

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from typing import Any, ParamSpec, TypeVar

from pydantic import BaseModel

from pada_agent.core.errors import StructuredOutputError
from pada_agent.core.ports import LanguageModel
from pada_agent.prompts.numbering import Numbered
from pada_agent.prompts.rendering import render
from pada_agent.prompts.structured_call import Shown, StructuredReply, Wrap, structured_call

ItemT = TypeVar("ItemT", bound=BaseModel)
ReplyT = TypeVar("ReplyT")
P = ParamSpec("P")


@dataclass(frozen=True)
class NoReply:
    """An LLM call without a usable item in any reply."""

    reason: str


@dataclass(frozen=True)
class ShownRows:
    """A request for rows and the real rows that answer it, shown to the LLM before it is asked for more."""

    template: str
    variables: Mapping[str, Any]
    items: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class PromptedModel:
    """An LLM in one role, with the user's prompt overrides."""

    model: LanguageModel
    overrides: Mapping[str, str] = field(default_factory=dict)
    max_output_tokens: int = 2048
    tags: Mapping[str, str | int] = field(default_factory=dict)
    """Added to the tags of every call, for tracing."""

    def tagged(self, **tags: str | int) -> "PromptedModel":
        """The same model, with these tags added to its calls."""
        same = copy(self)  # `replace` would call the constructor of a subclass
        object.__setattr__(same, "tags", {**self.tags, **tags})
        return same

    def knowing(self, templates: Mapping[str, str]) -> "PromptedModel":
        """The same model with additional templates. The user's overrides take precedence."""
        return replace(self, overrides={**templates, **self.overrides})

    def fit(self, n_items: int, *, tokens_each: int) -> int:
        """How many items of this many tokens fit into one answer: at least 1, at most `n_items`."""
        return max(1, min(n_items, self.max_output_tokens // tokens_each))

    def ask(
        self,
        template: str,
        variables: Mapping[str, Any],
        item: type[ItemT],
        *,
        numbered: Numbered | None = None,
        wrap: Wrap = "array",
        temperature: float = 0.0,
        draw: str = "",
        tags: Mapping[str, str | int] | None = None,
        shown: Sequence[ShownRows] = (),
    ) -> StructuredReply[ItemT]:
        """Render the template, call the model, and return validated items.

        Args:
            template: name of the prompt template.
            variables: the template's variables.
            item: form of one item.
            numbered: asks for one item for each of these numbers.
            wrap: what the answer is.
            shown: earlier turns of the conversation, each with its own template.

        Raises:
            PromptError: the template cannot be rendered.
            ModelUnavailableError: the model cannot be used.
            BudgetExceededError: the budget does not allow the call.
            StructuredOutputError: no usable item in any reply.
        """
        return structured_call(
            self.model,
            render(template, variables, self.overrides),
            item,
            numbered=numbered,
            wrap=wrap,
            temperature=temperature,
            max_output_tokens=self.max_output_tokens,
            draw=draw,
            tags={"prompt": template, **self.tags, **(tags or {})},
            shown=[Shown(render(turn.template, turn.variables, self.overrides), turn.items) for turn in shown],
        )


def try_ask(ask: Callable[P, ReplyT], *args: P.args, **kwargs: P.kwargs) -> ReplyT | NoReply:
    """Call `PromptedModel.ask`. A reply that cannot be used is a value and not a `StructuredOutputError`."""
    try:
        return ask(*args, **kwargs)
    except StructuredOutputError as exc:
        return NoReply(str(exc))
