"""Recipes for writing rows in the training-error branch: a prompt template, what it shows, and what it rewrites."""

from collections.abc import Mapping
from types import MappingProxyType

from pada_agent.core.plugins import RECIPES, find_part
from pada_agent.core.records import Record


class Recipe(Record):
    """One way of having rows written. Other packages add recipes through the entry point group `pada_agent.recipes`."""

    template: str
    """Name of the recipe and of its prompt template."""
    text: str = ""
    """The prompt (Jinja) of a recipe from another package. Empty uses the template of that name in `prompts/templates`."""
    shows_right_rows: bool = False
    """Whether each error is shown with the nearest training rows that the student answers correctly (`generation.n_contrasts`)."""
    rewrites_only_question: bool = False
    """Whether the writer writes only the question. Everything else is copied from the source row, or given."""
    goes_on: bool = False
    """Whether rows can be written as a continuation of real rows that are shown as earlier answers (`generation.n_shown_labels`). The prompt
    is then `more_examples`, in place of the recipe's own."""
    has_one_source: bool = False
    """Whether all rows of a call are based on one source row, because a small writer that sees several repeats them."""


PATTERN_GUIDED = Recipe(template="pattern_guided_generation", goes_on=True)
"""The recipe of the pattern branch."""

QUESTION_WORDING = Recipe(template="question_wording", rewrites_only_question=True)
"""Used in both branches if code derived the right answers (`generation.vary_answers`)."""

BUILT_IN: Mapping[str, Recipe] = MappingProxyType(
    {
        recipe.template: recipe
        for recipe in (
            Recipe(template="training_error_generation", goes_on=True),
            Recipe(template="contrast_generation", shows_right_rows=True),
            Recipe(template="similar_item_generation"),
            Recipe(template="rephrasing", rewrites_only_question=True, has_one_source=True),
        )
    }
)
"""Recipes of the training-error branch, by name (`generation.template`)."""


def find_recipe(name: str) -> Recipe:
    """The recipe with that name.

    Raises:
        ConfigError: there is no such recipe, or its entry point is not a `Recipe` of that name.
    """
    return find_part(name, RECIPES, built_in=BUILT_IN, accept=lambda found: isinstance(found, Recipe))
