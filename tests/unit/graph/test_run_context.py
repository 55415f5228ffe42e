"""What Studio shows of the settings: every field described, prompts editable, and safe to render."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pada_agent.core.config import PromptsConfig, RunConfig
from pada_agent.core.errors import PromptError
from pada_agent.graph.builder import build_graph
from pada_agent.graph.run_context import RunContext
from pada_agent.prompts.rendering import render, template_names, template_text
from tests.toy_world import ToyWorld


def walk_fields(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every field of the schema and of the groups it refers to."""
    groups = {schema["title"]: schema, **schema.get("$defs", {})}
    for group, body in groups.items():
        for name, field in body.get("properties", {}).items():
            # A group whose field says the same as the group is described there alone.
            yield f"{group}.{name}", {**groups.get(field.get("$ref", "").rpartition("/")[2], {}), **field}


def schema_of(kind: str) -> dict[str, Any]:
    graph = build_graph(lambda _: pytest.fail("a schema connects to nothing")).compile()
    schema: dict[str, Any] = getattr(graph, f"get_{kind}_jsonschema")()
    return schema


def test_every_setting_is_described() -> None:
    fields = list(walk_fields(schema_of("context")))
    assert len(fields) > 80
    assert not [name for name, field in fields if not field.get("description")]


@pytest.mark.parametrize("kind", ["input", "output"])
def test_input_and_output_are_described(kind: str) -> None:
    assert not [name for name, field in schema_of(kind)["properties"].items() if not field.get("description")]


def test_hints_name_nodes_that_exist() -> None:
    drawn = build_graph(lambda _: pytest.fail("a drawing connects to nothing")).compile().get_graph(xray=True)
    nodes = {node.rpartition(":")[2] for node in drawn.nodes}
    named = {n for _, field in walk_fields(schema_of("context")) for n in field.get("langgraph_nodes", [])}
    assert named and named <= nodes


def test_every_template_has_its_setting_with_our_text_to_start_from() -> None:
    assert sorted(PromptsConfig.model_fields) == template_names()
    fields = schema_of("context")["$defs"]["EditablePrompts"]["properties"]
    assert {name: field["default"] for name, field in fields.items()} == {n: template_text(n) for n in template_names()}
    assert {field["langgraph_type"] for field in fields.values()} == {"prompt"}


@pytest.mark.parametrize("send", [str, str.strip, lambda text: text.replace("\n", "\r\n")], ids=["same", "cut", "crlf"])
def test_a_form_sent_back_unchanged_is_the_default_run(send: Callable[[str], str]) -> None:
    texts = {name: send(template_text(name)) for name in template_names()}
    config = RunContext.model_validate({"prompts": texts}).to_config()
    assert config == RunConfig() and type(config) is RunConfig


def test_an_edited_prompt_is_kept_and_a_broken_one_refused() -> None:
    config = RunContext.model_validate({"prompts": {"quality_control": "Rate: {{ pairs | json }}"}}).to_config()
    assert config.prompts.overrides() == {"quality_control": "Rate: {{ pairs | json }}"}
    with pytest.raises(PromptError, match=r"prompts\.quality_control"):
        RunContext.model_validate({"prompts": {"quality_control": "{% for"}}).to_config()


@pytest.mark.parametrize(
    "text",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ self.__init__.__globals__ }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{{ lipsum.__globals__['os'].environ }}",
        "{{ pairs.__class__.__base__ }}",
        "{{ (pairs | attr('__class__')).__base__ }}",
        "{{ '{0.__class__}'.format(pairs) }}",
        "{{ pairs.append(1) }}",
        "{% include '/etc/passwd' %}",
        "{% import 'os' as os %}{{ os.getcwd() }}",
    ],
)
def test_a_prompt_that_reaches_for_the_interpreter_does_not_render(text: str) -> None:
    with pytest.raises(PromptError):
        render("quality_control", {"pairs": [1], "task": "t", "strategy": None}, {"quality_control": text})


def test_a_malicious_prompt_in_the_context_ends_the_run_with_the_prompt_s_name(tmp_path: Any) -> None:
    settings: dict[str, Any] = {
        "data": {"train": "memory:train", "validation": "memory:validation"},
        "task": {"labels": {"fruit": "f", "tool": "t", "animal": "a"}},
        "prompts": {"error_analysis": "{{ lipsum.__globals__ }}"},
    }
    graph = build_graph(ToyWorld(tmp_path).connect).compile()
    with pytest.raises(PromptError, match="'error_analysis'"):
        graph.invoke({}, context=RunContext.model_validate(settings))
