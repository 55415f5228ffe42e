"""Conversations in the usual formats: OpenAI's `messages`, ShareGPT's `conversations`, TRL's lists, Alpaca's `history`."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pada_agent.core.records import Turn
from pada_agent.evaluation.rows.cells import KEEPS_LISTS, is_broken_list, is_empty, parse_nested, to_nfc

_ROLES = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bot", "model", "ai", "bing", "bard", "claude"), "assistant"),
}


_WEIGHTS = ("weight", "train", "training", "loss")
"""Names that others give to whether an answer is to be learned."""
_READ = ("role", "from", "content", "value", "text", "tool_calls", "function_call", *_WEIGHTS)


class Conversation(NamedTuple):
    """The turns of a row. `answer` is None if they end with the user's turn."""

    system: str | None
    history: tuple[Turn, ...]
    question: str
    answer: str | None


class ConversationProblem(Exception):
    """What is wrong with a conversation. The text completes a sentence after `expected`."""


def read_conversation(value: Any) -> Conversation:
    """The conversation in a cell.

    Raises:
        ConversationProblem: it is not a list of turns, has an unknown role, does not alternate between user and
            assistant, or has no question.
    """
    found = parse_nested(value)
    if is_broken_list(found):
        raise ConversationProblem(f"expected a list that can be read: {KEEPS_LISTS}")
    if not isinstance(found, list | tuple) or not found:
        raise ConversationProblem("expected a list of turns, each with a role and its content")
    turns = [_read_turn(turn, number) for number, turn in enumerate(found, start=1)]
    if turns[-1][0] == "assistant" and not is_learned(found[-1]):
        raise ConversationProblem(
            "expected a last answer that is to be learned (its weight is 0): remove the weight, or drop the row"
        )
    system = turns.pop(0)[1] if turns[0][0] == "system" else None
    _check_order([role for role, _ in turns], first=2 if system is not None else 1)
    answer = turns.pop()[1] if turns[-1][0] == "assistant" else None
    history = tuple(Turn(role="user" if i % 2 == 0 else "assistant", content=text) for i, (_, text) in enumerate(turns))
    return Conversation(system or None, history[:-1], history[-1].content, answer)


def read_pairs(value: Any) -> tuple[Turn, ...]:
    """Alpaca's `history`: pairs of a question and its answer.

    Raises:
        ConversationProblem: it holds anything but pairs of texts.
    """
    found = parse_nested(value)
    turns: list[Turn] = []
    for pair in found if isinstance(found, list | tuple) else [None]:
        if not (isinstance(pair, list | tuple) and len(pair) == 2 and all(isinstance(t, str) and t for t in pair)):
            raise ConversationProblem("expected a list of pairs, each a question and its answer")
        turns += [Turn(role="user", content=to_nfc(pair[0])), Turn(role="assistant", content=to_nfc(pair[1]))]
    return tuple(turns)


def role_of(turn: Mapping[str, Any]) -> str | None:
    """`system`, `user` or `assistant`, also under the names that other formats use. None for any other role."""
    return _ROLES.get(str(turn.get("role", turn.get("from"))).strip().lower())


def is_learned(turn: Mapping[str, Any]) -> bool:
    """Whether an answer is to be learned: OpenAI's `weight` and its like are 0 or false where it is only to be read.

    Raises:
        ConversationProblem: a weight between.
    """
    name = next((name for name in _WEIGHTS if turn.get(name) is not None), "")
    if name and turn[name] not in (0, 1):
        raise ConversationProblem(f"expected 0 or 1 as the weight of a turn ({name} is {turn[name]!r:.40})")
    return not name or bool(turn[name])


def list_unread(value: Any) -> Iterator[str]:
    """Keys of turns that hold something and that nobody reads, such as `reasoning_content`."""
    found = parse_nested(value)
    for turn in found if isinstance(found, list | tuple) else ():
        if isinstance(turn, Mapping):
            yield from (str(key) for key, held in turn.items() if key not in _READ and not is_empty(held))


def _read_turn(turn: Any, number: int) -> tuple[str, str]:
    if not isinstance(turn, Mapping):
        raise ConversationProblem(f"expected turns with a role and its content (turn {number} is {turn!r:.60})")
    role = role_of(turn)
    if role is None:
        said = turn.get("role", turn.get("from"))
        raise ConversationProblem(f"expected turns of system, user and assistant (turn {number} has the role {said!r})")
    if any(turn.get(key) for key in ("tool_calls", "function_call")):
        raise ConversationProblem(f"expected turns of text only (turn {number} calls a tool)")
    content = next((turn[key] for key in ("content", "value", "text") if turn.get(key) is not None), None)
    return role, to_nfc(_join_parts(content, number))


def _join_parts(content: Any, number: int) -> str:
    """The text of a turn, which is a text or a list of text parts."""
    parts = content if isinstance(content, list | tuple) else [content]
    read = [
        part.get("text") if isinstance(part, Mapping) and part.get("type", "text") == "text" else part for part in parts
    ]
    texts = [text for text in read if isinstance(text, str)]
    if len(texts) < len(read):
        raise ConversationProblem(f"expected text as content (turn {number} has {content!r:.60})")
    joined = "\n".join(texts)
    if is_empty(joined):
        raise ConversationProblem(f"expected some text in every turn (turn {number} is empty)")
    return joined


def _check_order(roles: Sequence[str], *, first: int) -> None:
    for number, role in enumerate(roles):
        expected = ("user", "assistant")[number % 2]
        if role != expected:
            raise ConversationProblem(
                f"expected user and assistant to take turns, the user first (turn {number + first} is the {role}'s)"
            )
    if not roles:
        raise ConversationProblem("expected a user turn")
