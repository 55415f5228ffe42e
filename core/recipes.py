"""How the training-error branch has rows written: a template, what it shows, what it rewrites."""

from collections.abc import Mapping
from types import MappingProxyType

from pada_agent.core.plugins import RECIPES, find_part
from pada_agent.core.records import Record


class Recipe(Record):
    """One way of having rows written. A recipe of another package is an entry point of the group `pada_agent.recipes`."""

    template: str
    """Name of its prompt, and its own."""
    text: str = ""
    """The prompt (Jinja), for a recipe of another package; empty: the template of that name in `prompts/templates`."""
    shows_right_rows: bool = False
    """Beside each error stand the training rows nearest to it that the student answers rightly (`generation.n_contrasts`)."""
    rewrites_only_question: bool = False
    """The writer writes the question alone; all else is copied from the source, or given."""
    has_one_source: bool = False
    """All rows of a call are written from one source: a small writer that sees several repeats them."""


PATTERN_GUIDED = Recipe(template="pattern_guided_generation")
"""The one of the pattern branch."""

QUESTION_WORDING = Recipe(template="question_wording", rewrites_only_question=True)
"""In both branches, where code made the right answers (`generation.vary_answers`)."""

BUILT_IN: Mapping[str, Recipe] = MappingProxyType(
    {
        recipe.template: recipe
        for recipe in (
            Recipe(template="training_error_generation"),
            Recipe(template="contrast_generation", shows_right_rows=True),
            Recipe(template="similar_item_generation"),
            Recipe(template="rephrasing", rewrites_only_question=True, has_one_source=True),
        )
    }
)
"""For the training-error branch, by name (`generation.template`)."""


def find_recipe(name: str) -> Recipe:
    """The recipe of that name.

    Raises:
        ConfigError: none of that name, or an entry point that is no `Recipe`.
    """
    return find_part(name, RECIPES, built_in=BUILT_IN, accept=lambda found: isinstance(found, Recipe))
