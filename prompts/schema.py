"""The form of an answer, from its pydantic model: a skeleton for the LLM to read and a JSON Schema for the provider."""

import json
from functools import lru_cache
from typing import Any

from pydantic import BaseModel

N_FORMS = 256
"""Forms that are remembered: pydantic takes milliseconds to describe one, and every row of an answer asks."""

_DROPPED = ("title", "default", "description", "format", "examples")


def json_schema(item: type[BaseModel], *, n_items: int | None = None, array: bool = True) -> dict[str, Any]:
    """A schema that providers can constrain to: references resolved, every property required, no others allowed."""
    one: dict[str, Any] = json.loads(_object_schema(item))
    if not array:
        return one
    bounds = {} if n_items is None else {"minItems": n_items, "maxItems": n_items}
    return {"type": "array", "items": one, **bounds}


def text_schema(item: type[BaseModel], *, field: str, n_items: int | None = None) -> dict[str, Any]:
    """The schema of a list of texts, each of them the item's `field`."""
    schema = json_schema(item, n_items=n_items)
    return {**schema, "items": schema["items"]["properties"][field]}


@lru_cache(maxsize=N_FORMS)
def skeleton(item: type[BaseModel]) -> str:
    """An item as a model should write it, with what belongs into each field in angle brackets.

    Small models follow this better than a JSON Schema.
    """
    return json.dumps(_placeholder(_resolve(item.model_json_schema())), ensure_ascii=False, indent=2)


def text_skeleton(item: type[BaseModel], *, field: str) -> str:
    """A text, the item's `field`, with what belongs into it in angle brackets."""
    return json.dumps(json.loads(skeleton(item))[field], ensure_ascii=False)


@lru_cache(maxsize=N_FORMS)
def placeholders(item: type[BaseModel]) -> frozenset[str]:
    """The bracketed texts of `skeleton`: a value that equals one was copied, not written."""
    return frozenset(texts_in(_placeholder(_resolve(item.model_json_schema()))))


def texts_in(value: Any) -> list[str]:
    """A text, or the texts inside a JSON value."""
    if isinstance(value, list | dict):
        parts = value.values() if isinstance(value, dict) else value
        return [text for part in parts for text in texts_in(part)]
    return [value] if isinstance(value, str) else []


@lru_cache(maxsize=N_FORMS)
def _object_schema(item: type[BaseModel]) -> str:
    """As JSON: what is handed out may be changed."""
    return json.dumps(_make_strict(_resolve(item.model_json_schema())))


def _resolve(schema: dict[str, Any]) -> Any:
    return _inline(schema, schema.get("$defs", {}))


def _inline(node: Any, definitions: dict[str, Any]) -> Any:
    if isinstance(node, list):
        return [_inline(entry, definitions) for entry in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        target = definitions[node["$ref"].rsplit("/", 1)[-1]]
        siblings = {key: value for key, value in node.items() if key != "$ref"}
        return _inline({**target, **siblings}, definitions)
    return {key: _inline(value, definitions) for key, value in node.items() if key != "$defs"}


def _make_strict(node: Any) -> Any:
    if isinstance(node, list):
        return [_make_strict(entry) for entry in node]
    if not isinstance(node, dict):
        return node
    if "properties" in node:
        properties = {name: _make_strict(value) for name, value in node["properties"].items()}
        return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
    return {key: _make_strict(value) for key, value in node.items() if key not in _DROPPED}


def _placeholder(node: dict[str, Any]) -> Any:
    if "properties" in node:
        return {name: _placeholder(value) for name, value in node["properties"].items()}
    if node.get("type") == "array":
        return [_placeholder({"description": node.get("description", ""), **_item_of(node)})]
    return f"<{_describe(node)}>"


def _item_of(node: dict[str, Any]) -> dict[str, Any]:
    items = node.get("items") or (node.get("prefixItems") or [{}])[0]
    return items if isinstance(items, dict) else {}


def _describe(node: dict[str, Any]) -> str:
    parts = [_name_type(node), node.get("description", "").strip().rstrip(".")]
    return ": ".join(part for part in parts if part) or "text"


def _name_type(node: dict[str, Any]) -> str:
    if "anyOf" in node:
        return " or ".join(dict.fromkeys(_name_type(option) or "text" for option in node["anyOf"]))
    if "enum" in node or "const" in node:
        return "one of " + ", ".join(str(value) for value in node.get("enum", [node.get("const")]))
    if node.get("type") in ("integer", "number"):
        return {"integer": "whole number"}.get(node["type"], "number") + _range(node)
    return {"boolean": "true or false", "null": "null"}.get(node.get("type", ""), "")


def _range(node: dict[str, Any]) -> str:
    low, high = node.get("minimum"), node.get("maximum")
    if low is not None and high is not None:
        return f" from {low} to {high}"
    return f" at least {low}" if low is not None else f" at most {high}" if high is not None else ""
