"""Prompt templates and their sandbox."""

import pytest

from pada_agent.core.errors import PromptError
from pada_agent.core.records import Example
from pada_agent.prompts.rendering import check_overrides, render, template_names


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


def test_overrides_of_known_templates_that_parse_are_fine() -> None:
    check_overrides(dict.fromkeys(template_names(), "{{ anything }}"))
