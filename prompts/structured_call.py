"""Asks an LLM for items of a given form, and returns valid items or raises a typed error."""

import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel

from pada_agent.core.chat import ChatReply, ChatRequest, Message
from pada_agent.core.errors import StructuredOutputError
from pada_agent.core.ports import LanguageModel
from pada_agent.core.surrogates import join_surrogates
from pada_agent.core.thoughts import is_unfinished_thought, strip_thoughts
from pada_agent.prompts.extraction import Listing, find_listings, find_texts
from pada_agent.prompts.item_validation import CheckedItem, check_item, has_fields, name_as_fields
from pada_agent.prompts.numbering import Numbered, align_numbers
from pada_agent.prompts.scales import find_other_scale
from pada_agent.prompts.schema import json_schema, skeleton, text_schema, text_skeleton, texts_in
from pada_agent.prompts.versions import Version, choose_version

ItemT = TypeVar("ItemT", bound=BaseModel)

Wrap = Literal["array", "object", "texts"]
"""What an answer is: a list of items, one object, or a list of texts, each of them the one field that items have beside their numbers."""

MAX_CHARACTERS_PER_TOKEN = 8
"""An answer longer than that many characters for each token it was allowed is not read further."""

LOST_TOKENS = 10
"""An empty answer for which at least so many tokens were counted was written, and has been put elsewhere."""

CIRCULAR_CHARACTERS, CIRCULAR_SHARE = 1000, 0.15
"""An answer went round in circles if its last characters are compressed to less than this share of their length."""

SHOWN_CHARACTERS = 2000
"""Of an unusable answer, when it is shown to the LLM again."""


@dataclass(frozen=True)
class Shown:
    """An earlier turn of the conversation: a question, and a good answer to it, for the LLM to imitate."""

    prompt: str
    items: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class StructuredReply(Generic[ItemT]):
    """The valid items of an answer, what was wrong with the others or with the answer as a whole, and the calls it took."""

    items: tuple[ItemT, ...]
    problems: tuple[str, ...]
    """What was wrong, one line per problem."""
    call_keys: tuple[str, ...]
    """Keys of the calls in the response cache, in order."""


def structured_call(
    model: LanguageModel,
    prompt: str,
    item: type[ItemT],
    *,
    numbered: Numbered | None = None,
    temperature: float = 0.0,
    max_output_tokens: int = 1024,
    draw: str = "",
    tags: Mapping[str, str | int] | None = None,
    max_reasks: int = 2,
    wrap: Wrap = "array",
    shown: Sequence[Shown] = (),
) -> StructuredReply[ItemT]:
    """Ask until at least one item is good, at most `max_reasks` times more.

    The form, taken from `item` and its field descriptions, is appended to `prompt`. Declare `item` with
    `extra="ignore"`. `shown` turns come before the question, without the form: their answers show it.

    With `numbered`, one item for each number is asked for, and each item comes back under the number that it is about,
    however the model counted; those that cannot be told are left out. Fewer are a problem in the reply. Texts (`wrap`) have no
    numbers of their own and get them in order; they take about ten tokens less each, and need `numbered`.

    Raises:
        StructuredOutputError: no good item in any answer, or the provider refused to answer; shows the end of the story.
    """
    request = ChatRequest(
        messages=(*_show(shown, wrap), _ask_for(prompt, item, numbered, wrap)),
        temperature=temperature,
        max_output_tokens=max_output_tokens,
        json_schema=_describe_schema(item, numbered, wrap),
        draw=draw,
        tags=dict(tags or {}),
    )
    n_items = 1 if wrap == "object" else len(numbered.asked) if numbered else None
    keys: list[str] = []
    asked = request
    for attempt in range(max_reasks + 1):
        reply = model.complete(asked)
        reply = reply.model_copy(update={"text": join_surrogates(reply.text)})
        if reply.refused:
            raise StructuredOutputError(f"{model.name}: the provider refused to answer: {reply.text[:300]}")
        keys.append(reply.key)
        reading = _read_answer(reply, item, expect=n_items, numbered=numbered, asked=asked, wrap=wrap)
        if reading.items:
            return _trim(reading, n_items, tuple(keys))
        asked = _ask_again(request, reply, reading.problems, attempt + 1)
    raise StructuredOutputError(_failure(model.name, item, reply, reading.problems, max_reasks + 1))


def _ask_for(prompt: str, item: type[BaseModel], numbered: Numbered | None, wrap: Wrap) -> Message:
    return Message(role="user", content=f"{prompt.rstrip()}\n\n{describe_form(item, numbered=numbered, wrap=wrap)}")


def _show(shown: Sequence[Shown], wrap: Wrap) -> Iterator[Message]:
    for turn in shown:
        items = [text for item in turn.items for text in texts_in(item)] if wrap == "texts" else turn.items
        yield Message(role="user", content=turn.prompt.rstrip())
        yield Message(role="assistant", content=json.dumps(items, ensure_ascii=False))


def describe_form(item: type[BaseModel], *, numbered: Numbered | None = None, wrap: Wrap = "array") -> str:
    """The closing words of a prompt that say how to answer."""
    if wrap == "object":
        return f"Answer with one JSON object and nothing else, in this form:\n{skeleton(item)}"
    expect = len(numbered.asked) if numbered else None
    name, form = "object", skeleton(item)
    if wrap == "texts":
        name, form = "string", text_skeleton(item, field=_find_text_field(item, numbered))
    count = {None: "", 1: f" with exactly 1 {name}"}.get(expect, f" with exactly {expect} {name}s")
    return f"Answer with a JSON array{count} and nothing else, each {name} in this form:\n[\n{form}\n]"


def _describe_schema(item: type[BaseModel], numbered: Numbered | None, wrap: Wrap) -> dict[str, Any]:
    expect = len(numbered.asked) if numbered else None
    if wrap == "texts":
        return text_schema(item, field=_find_text_field(item, numbered), n_items=expect)
    return json_schema(item, n_items=expect, array=wrap == "array")


def _find_text_field(item: type[BaseModel], numbered: Numbered | None) -> str:
    (field,) = [name for name in item.model_fields if numbered is None or name != numbered.field]
    return field


@dataclass(frozen=True)
class _Reading(Generic[ItemT]):
    """Good items, and one line per problem."""

    items: tuple[ItemT, ...]
    problems: tuple[str, ...]


def _read_answer(
    reply: ChatReply,
    item: type[ItemT],
    *,
    expect: int | None,
    numbered: Numbered | None,
    asked: ChatRequest,
    wrap: Wrap,
) -> _Reading[ItemT]:
    limit = asked.max_output_tokens * MAX_CHARACTERS_PER_TOKEN
    text = "" if reply.truncated and is_unfinished_thought(reply.text) else reply.text[:limit]
    if numbered and wrap == "texts":
        text = _number_texts(text, item, numbered)
    version = _find_version(text, item, expect, numbered)
    problems = [checked.problem for checked in version.items if checked.problem] if version else []
    if version and numbered:
        items, strays = _put_under_numbers(version, numbered)
        problems += strays
    else:
        items = tuple(checked.item for checked in version.items if checked.item is not None) if version else ()
    return _Reading(items, (*problems, *_find_shortcomings(reply, limit, found=bool(version))))


def _number_texts(text: str, item: type[BaseModel], numbered: Numbered) -> str:
    """The answer's texts as the items that they stand for. The answer itself if it lists something else, such as items."""
    field, texts = _find_text_field(item, numbered), find_texts(text)
    items = [{numbered.field: n, field: found} for n, found in zip(numbered.asked, texts, strict=False)]
    return json.dumps(items) if items else text


def _find_version(text: str, item: type[ItemT], expect: int | None, numbered: Numbered | None) -> Version[ItemT] | None:
    """The list that is the answer. Items that do not tell their numbers as they were asked to count only if no others are good."""
    number_field = numbered.field if numbered else ""
    listings = find_listings(text, lambda draft: has_fields(draft, item, number_field=number_field))
    drafts = (name_as_fields(draft, item) for listing in listings for draft in listing.items)
    other_scale = find_other_scale(drafts, item)

    def check(listing: Listing, *, by_key: bool) -> Version[ItemT]:
        drafts = zip(listing.items, listing.keys, strict=True)
        checked = tuple(
            check_item(draft, item, where=f"item {n}", number_field=number_field, key=key if by_key else None)
            for n, (draft, key) in enumerate(drafts, start=1)
        )
        if other_scale:
            checked = tuple(CheckedItem(problem=f"item {n}: {other_scale}") for n, _ in enumerate(checked, start=1))
        return Version(checked, listing.is_list, listing.complete)

    version = choose_version([check(listing, by_key=False) for listing in listings], expect)
    if version and numbered and not version.n_good:
        other = choose_version([check(listing, by_key=True) for listing in listings], expect)
        return other if other and other.n_good else version
    return version


def _find_shortcomings(reply: ChatReply, limit: int, *, found: bool) -> list[str]:
    """What is wrong with an answer as a whole."""
    problems = []
    if reply.truncated and not reply.text.strip():
        problems.append(
            "thoughts took all tokens that were allowed: raise max_output_tokens, or lower reasoning_effort"
        )
    elif reply.truncated:
        circular = "it repeats the same words again and again, and " if _goes_in_circles(reply) else ""
        problems.append(f"{circular}the answer was cut off at the token limit: write less")
    elif not reply.text.strip() and reply.usage.output_tokens >= LOST_TOKENS:
        problems.append(
            f"the answer is empty although {reply.usage.output_tokens} tokens were written: the server may have taken all of it for"
            " thoughts or for a tool call (with vLLM, see --reasoning-parser)"
        )
    if len(reply.text) > limit:
        problems.append(f"the answer is far longer than was allowed: its first {limit} characters were read")
    if not found:
        in_words = reply.truncated and is_unfinished_thought(reply.text)
        thought_only = in_words or (reply.text.strip() and not strip_thoughts(reply.text))
        problems.append("it holds thoughts and no answer" if thought_only else "no JSON object was found in the answer")
    return problems


def _put_under_numbers(version: Version[ItemT], numbered: Numbered) -> tuple[tuple[ItemT, ...], list[str]]:
    """The items with the numbers that they are about, in that order; a line for each good item that is about none."""
    numbers = align_numbers([checked.number for checked in version.items], numbered.asked)
    placed: dict[int, ItemT] = {}
    strays = []
    for n, (checked, number) in enumerate(zip(version.items, numbers, strict=True), start=1):
        if checked.item is None:
            continue
        if number is None or number in placed:
            strays.append(_describe_stray(n, checked, numbered))
        else:
            placed[number] = checked.item.model_copy(update={numbered.field: number})
    return tuple(placed[number] for number in numbered.asked if number in placed), strays


def _describe_stray(n: int, checked: CheckedItem[ItemT], numbered: Numbered) -> str:
    asked = ", ".join(map(str, numbered.asked))
    said = f"there is no {numbered.field}" if checked.number is None else f"{numbered.field} is {checked.number}"
    return f"item {n}: {said}; expected each of {asked} once"


def _trim(reading: _Reading[ItemT], n_items: int | None, keys: tuple[str, ...]) -> StructuredReply[ItemT]:
    n_good = len(reading.items)
    counted = () if n_items in (None, n_good) else (f"{n_good} good items where {n_items} were asked for",)
    return StructuredReply(reading.items[:n_items], reading.problems + counted, keys)


def _ask_again(request: ChatRequest, reply: ChatReply, problems: tuple[str, ...], attempt: int) -> ChatRequest:
    """The first question, the latest answer and what was wrong with it; earlier answers are dropped to save tokens.

    An answer that goes round in circles is left out, because a model that sees it goes on with it. So is an empty one.
    Then the complaint joins the question: providers refuse empty and adjacent user turns.
    """
    *before, question = request.messages
    complaint = "That answer cannot be used:\n" + "\n".join(f"- {problem}" for problem in problems[:5])
    note = f"{complaint}\nAnswer again, with the JSON alone, in the form asked for."
    answer = strip_thoughts(reply.text).strip()[:SHOWN_CHARACTERS]
    if answer and not _goes_in_circles(reply):
        turns = [question, Message(role="assistant", content=answer), Message(role="user", content=note)]
    else:
        why = "An earlier answer went round in circles. " if answer else "An earlier answer was empty. "
        turns = [Message(role="user", content=f"{question.content}\n\n{why}{note}")]
    return request.model_copy(update={"messages": (*before, *turns), "attempt": attempt})


def _goes_in_circles(reply: ChatReply) -> bool:
    """Whether an answer was cut off while it repeated itself, as small models do at temperature 0."""
    end = reply.text[-CIRCULAR_CHARACTERS:].encode(errors="replace")
    return reply.truncated and len(zlib.compress(end)) < CIRCULAR_SHARE * len(end)


def _failure(model: str, item: type[BaseModel], reply: ChatReply, problems: tuple[str, ...], n_calls: int) -> str:
    excerpt = reply.text.strip()[:300] or "(empty)"
    return f"{model} gave no usable {item.__name__} in {n_calls} answers: {'; '.join(problems[:3])}. Its last answer began: {excerpt}"
