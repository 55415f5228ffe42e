"""Ask an LLM for items of a given form, and get items of that form or a typed failure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from pydantic import BaseModel

from pada_agent.core.chat import ChatReply, ChatRequest, Message
from pada_agent.core.errors import StructuredOutputError
from pada_agent.core.ports import LanguageModel
from pada_agent.prompts.extraction import extract_items
from pada_agent.prompts.item_validation import Checked, check_item
from pada_agent.prompts.schema import json_schema, skeleton

ItemT = TypeVar("ItemT", bound=BaseModel)

MAX_CHARACTERS_PER_TOKEN = 16
"""An answer longer than that many characters for each token it was allowed is not read further."""

SHOWN_CHARACTERS = 2000
"""Of an unusable answer, when it is shown to the LLM again."""


@dataclass(frozen=True)
class StructuredReply(Generic[ItemT]):
    """The good items of an answer; what was wrong with the others or with the answer as a whole; the calls it took."""

    items: tuple[ItemT, ...]
    problems: tuple[str, ...]
    call_keys: tuple[str, ...]


def structured_call(
    model: LanguageModel,
    prompt: str,
    item: type[ItemT],
    *,
    system: str = "",
    expect: int | None = None,
    temperature: float = 0.0,
    max_output_tokens: int = 1024,
    draw: str = "",
    tags: Mapping[str, str | int] | None = None,
    max_reasks: int = 2,
    wrap: Literal["array", "object"] = "array",
    accept: Callable[[ItemT], str | None] | None = None,
) -> StructuredReply[ItemT]:
    """Ask until at least one item is good, at most `max_reasks` times more.

    The form, taken from `item` and its field descriptions, is appended to `prompt`. Declare `item` with
    `extra="ignore"`. `wrap` says whether the answer is a list of items or one object. Items beyond `expect` are cut,
    fewer are a problem in the reply. `accept` returns why a well-formed item is refused, or None.

    Raises:
        StructuredOutputError: no good item in any answer; shows the end of the story.
    """
    request = ChatRequest(
        messages=_open(system, f"{prompt.rstrip()}\n\n{describe_form(item, expect=expect, wrap=wrap)}"),
        temperature=temperature,
        max_output_tokens=max_output_tokens,
        json_schema=json_schema(item, n_items=expect, array=wrap == "array"),
        draw=draw,
        tags=dict(tags or {}),
    )
    n_items = 1 if wrap == "object" else expect
    keys: list[str] = []
    asked = request
    for attempt in range(max_reasks + 1):
        reply = model.complete(asked)
        keys.append(reply.key)
        checked = _check_answer(reply, item, accept, expect=n_items, limit=max_output_tokens * MAX_CHARACTERS_PER_TOKEN)
        if checked.items:
            return _settle(checked, n_items, tuple(keys))
        asked = _ask_again(request, reply, checked.problems, attempt + 1)
    raise StructuredOutputError(_failure(model.name, item, reply, checked.problems, max_reasks + 1))


def describe_form(
    item: type[BaseModel], *, expect: int | None = None, wrap: Literal["array", "object"] = "array"
) -> str:
    """The closing words of a prompt that say how to answer."""
    if wrap == "object":
        return f"Answer with one JSON object and nothing else, in this form:\n{skeleton(item)}"
    count = {None: "", 1: " with exactly 1 object"}.get(expect, f" with exactly {expect} objects")
    return f"Answer with a JSON array{count} and nothing else, each object in this form:\n[\n{skeleton(item)}\n]"


def _open(system: str, prompt: str) -> tuple[Message, ...]:
    user = Message(role="user", content=prompt)
    return (Message(role="system", content=system), user) if system else (user,)


def _check_answer(
    reply: ChatReply,
    item: type[ItemT],
    accept: Callable[[ItemT], str | None] | None,
    *,
    expect: int | None,
    limit: int,
) -> Checked[ItemT]:
    drafts = extract_items(reply.text[:limit], expect=expect)
    results = [check_item(draft, item, accept, where=f"item {n}") for n, draft in enumerate(drafts, start=1)]
    problems = [result.problem for result in results if result.problem]
    if reply.truncated:
        problems.append("the answer was cut off at the token limit: write less")
    if not drafts:
        problems.append("no JSON object was found in the answer")
    return Checked(tuple(result.item for result in results if result.item is not None), tuple(problems))


def _settle(checked: Checked[ItemT], n_items: int | None, keys: tuple[str, ...]) -> StructuredReply[ItemT]:
    n_good = len(checked.items)
    counted = () if n_items in (None, n_good) else (f"{n_good} good items where {n_items} were asked for",)
    return StructuredReply(checked.items[:n_items], checked.problems + counted, keys)


def _ask_again(request: ChatRequest, reply: ChatReply, problems: tuple[str, ...], attempt: int) -> ChatRequest:
    """The first question, the latest answer and what was wrong with it; earlier answers are dropped to save tokens.

    An empty answer is left out and the complaint joins the question: providers refuse empty and adjacent user turns.
    """
    *before, question = request.messages
    complaint = "That answer cannot be used:\n" + "\n".join(f"- {problem}" for problem in problems[:5])
    note = f"{complaint}\nAnswer again, with the JSON alone, in the form asked for."
    answer = reply.text.strip()[:SHOWN_CHARACTERS]
    if answer:
        turns = [question, Message(role="assistant", content=answer), Message(role="user", content=note)]
    else:
        turns = [Message(role="user", content=f"{question.content}\n\nAn earlier answer was empty. {note}")]
    return request.model_copy(update={"messages": (*before, *turns), "attempt": attempt})


def _failure(model: str, item: type[BaseModel], reply: ChatReply, problems: tuple[str, ...], n_calls: int) -> str:
    excerpt = reply.text.strip()[:300] or "(empty)"
    return f"{model} gave no usable {item.__name__} in {n_calls} answers: {'; '.join(problems[:3])}. Its last answer began: {excerpt}"
