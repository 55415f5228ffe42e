"""Prompt templates: one file each in `templates/`, replaceable from settings, rendered in a sandbox."""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2.exceptions import TemplateError
from pydantic_core import to_jsonable_python

from pada_agent.core.errors import PromptError
from pada_agent.core.suggestions import suggest
from pada_agent.prompts.template_process import TemplateFault, TemplateLimitError, render_prompts
from pada_agent.prompts.template_worker import describe, make_prompt_environment

TEMPLATES = Path(__file__).parent / "templates"


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
    """Find mistakes before a run starts; missing variables show only in `render`.

    Raises:
        PromptError: one line per override that names no template or does not parse.
    """
    known = template_names()
    problems = [
        f"prompts.{name}: no such template. There are: {_listed(known)}.{suggest(name, known)}"
        for name in overrides
        if name not in known
    ]
    for name, text in overrides.items():
        try:
            _environment().parse(text)
        except (TemplateError, RecursionError) as exc:
            problems.append(f"prompts.{name}: {exc}")
    if problems:
        raise PromptError("\n".join(problems))


@lru_cache(maxsize=1)
def _read_templates() -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in TEMPLATES.glob("*.j2")}


@lru_cache(maxsize=1)
def _environment() -> Any:
    return make_prompt_environment(_read_templates())


def _listed(names: list[str]) -> str:
    return ", ".join(names) or "none"
