"""A model together with the prompts it is asked in: the only way agents speak."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

from pydantic import BaseModel

from pada_agent.core.ports import LanguageModel
from pada_agent.prompts.numbering import Numbered
from pada_agent.prompts.rendering import render
from pada_agent.prompts.structured_call import StructuredReply, structured_call

ItemT = TypeVar("ItemT", bound=BaseModel)


@dataclass(frozen=True)
class PromptedModel:
    """An LLM in one role, with the user's prompt overrides."""

    model: LanguageModel
    overrides: Mapping[str, str] = field(default_factory=dict)
    max_output_tokens: int = 2048
    tags: Mapping[str, str | int] = field(default_factory=dict)
    """Added to those of every call: for tracing."""

    def tagged(self, **tags: str | int) -> "PromptedModel":
        """The same, its calls traced with these tags too."""
        return replace(self, tags={**self.tags, **tags})

    def knowing(self, templates: Mapping[str, str]) -> "PromptedModel":
        """The same, with these templates besides; the user's overrides go before."""
        return replace(self, overrides={**templates, **self.overrides})

    def fit(self, n_items: int, *, tokens_each: int) -> int:
        """How many items of so many tokens one answer has room for: `n_items` at most, 1 at least."""
        return max(1, min(n_items, self.max_output_tokens // tokens_each))

    def ask(
        self,
        template: str,
        variables: Mapping[str, Any],
        item: type[ItemT],
        *,
        expect: int | None = None,
        numbered: Numbered | None = None,
        wrap: Literal["array", "object"] = "array",
        temperature: float = 0.0,
        draw: str = "",
        tags: Mapping[str, str | int] | None = None,
    ) -> StructuredReply[ItemT]:
        """Render the template, call the model, return validated items; `expect` of them, one for each number, or as many as are good.

        Raises:
            PromptError, ModelUnavailableError, BudgetExceededError, StructuredOutputError.
        """
        return structured_call(
            self.model,
            render(template, variables, self.overrides),
            item,
            expect=expect,
            numbered=numbered,
            wrap=wrap,
            temperature=temperature,
            max_output_tokens=self.max_output_tokens,
            draw=draw,
            tags={"prompt": template, **self.tags, **(tags or {})},
        )
