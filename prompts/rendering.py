"""Prompt templates: one file each in `templates/`, replaceable from settings, rendered in a sandbox."""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import nodes
from jinja2.exceptions import TemplateError
from pydantic_core import to_jsonable_python

from pada_agent.core.errors import PromptError
from pada_agent.core.recipes import BUILT_IN, PATTERN_GUIDED, QUESTION_WORDING, Recipe
from pada_agent.core.suggestions import suggest
from pada_agent.prompts.template_process import TemplateFault, TemplateLimitError, render_prompts
from pada_agent.prompts.template_worker import describe, make_prompt_environment

TEMPLATES = Path(__file__).parent / "templates"
WRITING = (*BUILT_IN, PATTERN_GUIDED.template, QUESTION_WORDING.template, "more_examples")
"""Templates that ask for rows. All of them get the same variables, and so does the prompt of a recipe."""
_IMPLICIT = {"loop", "self", "super", "caller", "varargs", "kwargs"}
"""Names that jinja2 sets in loops, blocks and macros."""
_OPTIONAL = {"default", "d", "defined", "undefined"}
"""Filters and tests that accept a variable that there is none of."""


def render(name: str, variables: Mapping[str, Any], overrides: Mapping[str, str] | None = None) -> str:
    """The text of template `name`; `overrides` maps template names to Jinja texts that replace ours.

    Variables become plain data first (records turn into mappings, properties are left behind): a method that a
    record inherits, such as pydantic's `parse_file`, must be out of a template's reach. Others' templates are rendered
    in a process of their own, which limits time and memory. `{{ value | json }}` writes JSON without HTML escapes.

    Raises:
        PromptError: no such template, a variable it lacks, a syntax error, a forbidden access, or too much time or memory.
    """
    try:
        return _render(f"{name}.j2", to_jsonable_python(dict(variables)), overrides or {})
    except TemplateFault as exc:
        if exc.template is not None:
            raise PromptError(
                f"prompt {name!r}: there is no template {exc.template!r}. There are: {_listed(template_names())}.{suggest(exc.template, template_names())}"
            ) from exc
        line = f" (line {exc.line})" if exc.line else ""
        raise PromptError(
            f"prompt {name!r}{line}: {exc}. It may use the variables: {_listed(sorted(variables))}"
        ) from exc
    except TemplateLimitError as exc:
        raise PromptError(f"prompt {name!r} {exc}. Correct its template in prompts.{name}.") from exc


def _render(name: str, variables: dict[str, Any], overrides: Mapping[str, str]) -> str:
    """Ours in this process; as soon as there are others among them, in one of their own."""
    if overrides:
        templates = _read_templates() | {f"{name}.j2": text for name, text in overrides.items()}
        return render_prompts(tuple(sorted(templates.items()))).render(name, variables)
    try:
        return str(_environment().get_template(name).render(variables))
    except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError, RecursionError) as exc:
        raise TemplateFault(**describe(exc)) from exc


def template_text(name: str) -> str:
    """Our text of template `name`."""
    return (TEMPLATES / f"{name}.j2").read_text(encoding="utf-8")


def template_names() -> list[str]:
    """The templates that settings may override. Those whose names begin with an underscore are parts of others."""
    return sorted(path.stem for path in TEMPLATES.glob("[!_]*.j2"))


def check_overrides(overrides: Mapping[str, str]) -> None:
    """Find mistakes before a run starts, without rendering anything.

    Raises:
        PromptError: one line per override that names no template, does not parse, or uses an unknown variable, filter or
            test.
    """
    known = template_names()
    problems = [
        f"prompts.{name}: no such template. There are: {_listed(known)}.{suggest(name, known)}"
        for name in overrides
        if name not in known
    ]
    for name, text in overrides.items():
        if problem := _find_problem(text, name if name in known else None):
            problems.append(f"prompts.{name}: {problem}")
    if problems:
        raise PromptError("\n".join(problems))


def check_recipe(recipe: Recipe) -> None:
    """Find mistakes in the prompt of a recipe before a run starts, without rendering it.

    Raises:
        PromptError: it has no prompt, or one with a mistake that `check_overrides` would find.
    """
    if not recipe.text and recipe.template not in template_names():
        raise PromptError(f"the recipe {recipe.template!r} has no prompt. Give it a `text` (Jinja).")
    if problem := _find_problem(recipe.text or template_text(recipe.template), WRITING[0]):
        raise PromptError(f"the prompt of the recipe {recipe.template!r}: {problem}")


def _find_problem(text: str, name: str | None) -> str | None:
    """What is wrong with a text in place of template `name` (None: an unknown one). None if nothing is."""
    environment = _environment()
    try:
        found = _find_names(environment.parse(text))
    except (TemplateError, RecursionError) as exc:
        return str(exc)
    known = {"filter": set(environment.filters), "test": set(environment.tests)}
    if name is not None:
        known["variable"] = _list_variables(name)
    for noun, names in known.items():
        if unknown := sorted(found[noun] - names):
            listed = f" It may use the variables: {_listed(sorted(names))}." if noun == "variable" else ""
            return f"there is no {noun} {unknown[0]!r}.{listed}{suggest(unknown[0], sorted(names))}"
    return None


def _list_variables(name: str) -> set[str]:
    """The variables that template `name` gets: those that ours uses, or another one that is rendered with the same."""
    alike = WRITING if name in WRITING else (name,)
    return {v for other in alike for v in _find_names(_environment().parse(template_text(other)))["variable"]}


def _find_names(tree: nodes.Template) -> dict[str, set[str]]:
    """The filters, the tests, and the variables that a template needs: that it sets nowhere, and can do nowhere without.

    jinja2's own `find_undeclared_variables` would compute constants such as `10 ** 10 ** 9`.
    """
    named, filters = list(tree.find_all(nodes.Name)), list(tree.find_all(nodes.Filter))
    tests = list(tree.find_all(nodes.Test))
    own = {n.name for n in named if n.ctx != "load"} | {macro.name for macro in tree.find_all(nodes.Macro)}
    own |= {str(imported.target) for imported in tree.find_all(nodes.Import)}
    own |= {str(n[-1] if isinstance(n, tuple) else n) for i in tree.find_all(nodes.FromImport) for n in i.names}
    own |= {u.node.name for u in (*filters, *tests) if u.name in _OPTIONAL and isinstance(u.node, nodes.Name)}
    return {
        "filter": {f.name for f in filters},
        "test": {t.name for t in tests},
        "variable": {n.name for n in named} - own - set(_environment().globals) - _IMPLICIT,
    }


@lru_cache(maxsize=1)
def _read_templates() -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in TEMPLATES.glob("*.j2")}


@lru_cache(maxsize=1)
def _environment() -> Any:
    return make_prompt_environment(_read_templates())


def _listed(names: list[str]) -> str:
    return ", ".join(names) or "none"
