"""Templates of strangers, whatever they compute."""

import gc
import time
from collections.abc import Iterator
from datetime import date

import pytest
from jinja2.exceptions import TemplateError
from transformers.utils.chat_template_utils import render_jinja_template

from pada_agent.core.errors import PromptError
from pada_agent.prompts.rendering import check_overrides, render
from pada_agent.prompts.template_process import TODAY, TemplateFault, TemplateLimitError, TemplateProcess

MEMORY = "needs more than 512 MiB of memory"
TIME = "computes for more than 10 s"
TURNS = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": 'Is it "<b>" & é?\u2028 😀'}]


def render_chat(template: str, **variables: object) -> str:
    turns = {"messages": TURNS, "tools": None, "documents": None, "add_generation_prompt": True}
    return TemplateProcess("chat", {"chat": template}).render("chat", {**turns, **variables})


@pytest.mark.parametrize(
    ("template", "limit"),
    [
        ("{{ 'a' * 10 ** 10 }}", MEMORY),
        ("{% set n = namespace(s='ab') %}{% for i in range(60) %}{% set n.s = n.s ~ n.s %}{% endfor %}", MEMORY),
        ("{{ '%999999999d' % 1 }}", MEMORY),
        ("{{ 'a' | center(10 ** 10) }}", MEMORY),
        ("{% for i in range(99999) %}{{ 'a' * 999 }}{% endfor %}", "writes more than 8,388,608 characters"),
    ],
)
def test_what_takes_too_much_memory_is_refused(template: str, limit: str) -> None:
    with pytest.raises(TemplateLimitError) as caught:
        render_chat(template)
    assert str(caught.value) == limit


@pytest.mark.parametrize(
    "template",
    [
        "{{ (10 ** 100000) ** 600 }}",
        "{% set many = range(99999) %}{% for a in many %}{% for b in many %}{% endfor %}{% endfor %}",
        "{% macro twice(n) %}{{ twice(n - 1) if n }}{{ twice(n - 1) if n }}{% endmacro %}{{ twice(60) }}",
    ],
)
def test_what_takes_too_much_time_is_ended_and_the_next_one_is_rendered(
    template: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pada_agent.prompts.template_process.SECONDS", 0.5)
    process = TemplateProcess("chat", {"bad": template, "good": "{{ messages[0].content }}"})
    assert process.render("good", {"messages": TURNS}) == "Be kind."
    with pytest.raises(TemplateLimitError, match=TIME):
        process.render("bad", {"messages": TURNS})
    assert process.render("good", {"messages": TURNS}) == "Be kind."


CHATS = (
    "{% for m in messages %}<|{{ m['role'] }}|>\n{{ m.content | trim }}</s>\n{%- endfor %}\n  {% if add_generation_prompt %}\nA:{% endif %}",
    "{{ bos_token }}{% if tools is none and not documents %}{{ messages | tojson }}{% endif %}{{ missing }}",
    "{{ messages[1] | tojson(indent=2) }}{{ messages[1].content | e }}{{ messages[1].reasoning_content is defined }}",
    "{%- set ns = namespace(last='', n=0) %}{% for m in messages %}{% if m.role == 'system' %}{% continue %}{% endif %}"
    "{% generation %}{% set ns.last = m.content %}{{ m.content }}{% endgeneration %}{% break %}{% endfor %}{{ ns.last }}",
    "{% set d = dict(a=1, b=[2]) %}{{ d }}{{ d.items() | list }}{{ dict.fromkeys(['x']) }}{{ namespace({'y': 1}).y }}",
    "{% macro say(m) %}[{{ m.role.upper() }}]{{ caller() }}{% endmacro %}{% call say(messages[0]) %}{{ loop }}{% endcall %}",
    "{{ messages | selectattr('role', 'equalto', 'user') | map(attribute='content') | join('\\n') | replace('<', '&') }}",
)


@pytest.mark.parametrize("template", CHATS)
def test_a_chat_template_gives_what_it_gives_in_transformers(template: str) -> None:
    texts, _ = render_jinja_template([TURNS], chat_template=template, add_generation_prompt=True, bos_token="<s>")
    assert render_chat(template, bos_token="<s>") == texts[0]


@pytest.mark.parametrize(
    "template",
    [
        "{{ raise_exception('No system turn.') }}",
        "{{ messages[0].content + 1 }}",
        "{{ messages[7].content }}",
        "{{ messages.append(1) }}",
        "{{ ''.__class__.__mro__ }}",
        "a\n{% if %}",
        "{{ 1 | nonsense }}",
    ],
)
def test_it_fails_as_in_transformers(template: str) -> None:
    with pytest.raises((TemplateError, TypeError)) as theirs:
        render_jinja_template([TURNS], chat_template=template)
    with pytest.raises(TemplateFault) as ours:
        render_chat(template)
    assert ours.value.kind == theirs.type.__name__
    assert ours.value.line == getattr(theirs.value, "lineno", None)


@pytest.mark.parametrize(
    ("template", "kind"),
    [("{{ dict.mro() }}", "UndefinedError"), ("{% set n = namespace(__class__=1) %}{{ n }}", "SecurityError")],
)
def test_what_older_versions_of_transformers_let_pass_fails_here(template: str, kind: str) -> None:
    with pytest.raises(TemplateFault) as ours:
        render_chat(template)
    assert ours.value.kind == kind


def test_the_date_is_the_same_every_day() -> None:
    assert date.today() != TODAY
    assert render_chat("{% set f = '%d %b %Y' %}{{ strftime_now(f) }}") == "26 Jul 2024"


def test_a_prompt_of_the_users_has_the_same_limits() -> None:
    started = time.process_time()
    with pytest.raises(
        PromptError, match=r"prompt 'greeting' needs more than 512 MiB of memory\. Correct .*prompts\.greeting"
    ):
        render("greeting", {}, {"greeting": "{{ 'a' * 10 ** 10 }}"})
    check_overrides({"quality_control": "{{ (10 ** 100000) ** 600 }}"})
    assert time.process_time() - started < 5


@pytest.fixture
def without_collector() -> Iterator[None]:
    """At the deepest point, the collector would call finalizers of earlier tests, which have no room for that."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("without_collector")
def test_a_prompt_that_is_nested_without_end_is_told() -> None:
    with pytest.raises(PromptError, match=r"prompts\.quality_control: "):
        check_overrides({"quality_control": "{{ " + "(" * 20_000 + "1" + ")" * 20_000 + " }}"})
    with pytest.raises(PromptError, match="prompt 'quality_control'"):
        render("quality_control", {}, {"quality_control": "{{ " + "-" * 20_000 + "1 }}"})
