"""Prompt templates and their sandbox."""

import pytest

from pada_agent.core.errors import PromptError
from pada_agent.core.recipes import BUILT_IN, PATTERN_GUIDED, QUESTION_WORDING, Recipe
from pada_agent.core.records import Example
from pada_agent.prompts.rendering import WRITING, check_overrides, check_recipe, render, template_names, template_text


def render_text(template: str, **variables: object) -> str:
    return render("greeting", variables, {"greeting": template})


def test_an_override_replaces_the_template_and_sees_the_variables() -> None:
    assert render_text("Hello {{ name }}!", name="Ada") == "Hello Ada!"


def test_blocks_leave_no_blank_lines() -> None:
    assert render_text("a\n  {% for n in [1, 2] %}\n{{ n }}\n  {% endfor %}\nb") == "a\n1\n2\nb"


def test_text_is_not_escaped_for_html() -> None:
    assert render_text("{{ text }}", text="<b> & 'c'") == "<b> & 'c'"


def test_json_is_written_without_html_escapes() -> None:
    assert render_text("{{ row | json }}", row={"q": "a < b, é"}) == '{"q": "a < b, é"}'


def test_a_missing_variable_is_named_with_the_template_and_those_there_are() -> None:
    with pytest.raises(PromptError, match=r"'greeting'.*'nmae' is undefined.*name") as caught:
        render_text("{{ nmae }}", name="Ada")
    assert "greeting" in str(caught.value)


def test_a_syntax_error_tells_its_line() -> None:
    with pytest.raises(PromptError, match=r"'greeting' \(line 2\)"):
        render_text("a\n{% if %}")


def test_an_unknown_template_lists_those_there_are() -> None:
    with pytest.raises(PromptError, match=r"no template 'nothing\.j2'"):
        render("nothing", {})


@pytest.mark.parametrize(
    "attack",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ ''.__class__.__base__.__subclasses__() }}",
        "{{ self.__init__.__globals__ }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{{ lipsum.__globals__['os'] }}",
        "{{ rows.append(1) }}",
        "{{ rows.__len__.__self__ }}",
        "{{ ''['__cl' ~ 'ass__'] }}",
        "{{ '%s'.format.__func__ }}",
        "{{ '{0.__class__}'.format('x') }}",
        "{{ (''|attr('__class__')).x }}",
        "{% include '../rendering.py' %}",
        "{% include '/etc/passwd' %}",
        "{{ range(10 ** 9) | list }}",
        "{{ 1 / 0 }}",
    ],
)
def test_a_template_cannot_reach_the_interpreter(attack: str) -> None:
    with pytest.raises(PromptError, match="greeting"):
        render_text(attack, rows=[1])


def test_the_methods_of_a_record_are_out_of_reach() -> None:
    example = Example(id="1", prompt="p", answer="a")
    assert render_text("{{ row.prompt }}", row=example) == "p"
    with pytest.raises(PromptError, match="parse_file"):
        render_text("{{ row.parse_file('/etc/passwd') }}", row=example)


def test_all_mistakes_in_overrides_are_reported_at_once() -> None:
    with pytest.raises(PromptError, match=r"prompts\.bad: no such template") as caught:
        check_overrides({"bad": "{% if %}", "worse": "{{"})
    assert str(caught.value).count("\n") == 3


def test_our_own_texts_are_fine_as_overrides() -> None:
    check_overrides({name: template_text(name) for name in template_names()})


@pytest.mark.parametrize(
    "text",
    [
        "{% for row in rows %}{{ loop.index }} {{ row.question | upper }}{% else %}{{ task }}{% endfor %}",
        "{% set told = task %}{{ told }}{% macro show(x) %}{{ x }}{{ caller() }}{% endmacro %}{{ show(variety) }}",
        "{% with both = rows %}{{ both | json }}{% endwith %}{{ range(3) | list }}",
        "{% if extra is defined %}{{ extra }}{% endif %}{{ more | default('none') }}",
        "{% from 'rephrasing.j2' import a as b %}{{ b }}{% import 'rephrasing.j2' as c %}{{ c }}",
        "{{ real }}{{ opposite }}{{ shared }}{{ strategy }}{{ field }}",
    ],
)
def test_what_a_template_sets_itself_or_gets_as_one_that_asks_for_rows_is_no_mistake(text: str) -> None:
    check_overrides({"rephrasing": text})
    check_recipe(Recipe(template="theirs", text=text))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "{{ rwos }}",
            r"there is no variable 'rwos'\. It may use the variables: field, .*variety\. Did you mean 'rows'\?",
        ),
        ("{% for row in rows %}{{ patterns }}{% endfor %}", "there is no variable 'patterns'"),
        ("{{ task | shout }}", "there is no filter 'shout'"),
        ("{% if task is odder %}{% endif %}", "there is no test 'odder'"),
        ("{{ task", "unexpected end of template"),
    ],
)
def test_a_mistake_in_a_prompt_is_found_before_the_run(text: str, told: str) -> None:
    with pytest.raises(PromptError, match=f"^prompts\\.rephrasing: {told}"):
        check_overrides({"rephrasing": text})
    with pytest.raises(PromptError, match=f"^the prompt of the recipe 'theirs': {told}"):
        check_recipe(Recipe(template="theirs", text=text))


def test_a_recipe_without_a_prompt_is_told_so() -> None:
    with pytest.raises(PromptError, match=r"^the recipe 'theirs' has no prompt\. Give it a `text`"):
        check_recipe(Recipe(template="theirs"))
    for recipe in (*BUILT_IN.values(), PATTERN_GUIDED, QUESTION_WORDING):
        check_recipe(recipe)


def test_all_templates_that_ask_for_rows_get_the_same_variables() -> None:
    assert {name for name in template_names() if "in rows %}" in template_text(name)} == set(WRITING)
