"""Conversations as the student's tokens. The same rendering serves training, scoring, generation and measuring lengths."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Protocol

from pada_agent.core.errors import ConfigError, DatasetError
from pada_agent.core.jobs import ChatSpec
from pada_agent.core.records import Example
from pada_agent.core.thoughts import find_closer, find_open_thought, is_mark
from pada_agent.evaluation.control_tokens import ControlTokens
from pada_agent.prompts.template_process import TODAY, TemplateFault, TemplateLimitError, render_chats

SENTINEL = 'Sentinel-7f3a-{} <&> "it\'s"'
"""Placeholder text for a turn when only the template itself is examined."""


class Tokenizer(Protocol):
    """What is needed from transformers' tokenizers."""

    chat_template: Any
    eos_token_id: int | None
    all_special_tokens: list[str]
    special_tokens_map: Mapping[str, Any]
    added_tokens_decoder: Mapping[int, Any]

    def __call__(self, text: str, *, add_special_tokens: bool) -> Any: ...

    def get_chat_template(self, chat_template: str | None) -> Any: ...

    def convert_ids_to_tokens(self, ids: int) -> Any: ...

    def convert_tokens_to_ids(self, tokens: str) -> Any: ...


@dataclass(frozen=True)
class Prompt:
    """Everything up to where the assistant starts to write."""

    text: str
    """The rendered text, with the names of control tokens in row text hidden."""
    opening: str = ""
    """The end of `text` that opens a thought, such as `<think>` and a line break. Empty if no thought is open."""
    closed: str = ""
    """The mark, such as `<think>`, of a thought that the template opened and that was closed at once. Empty if there was none."""


class ChatTokenizer:
    """Renders turns with the chat template and returns their token ids."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        chat: ChatSpec = ChatSpec(),  # noqa: B008  (frozen)
        *,
        end_token_ids: Sequence[int] = (),
        n_embeddings: int | None = None,
    ) -> None:
        """Check the chat template and find the end-of-turn token.

        Args:
            end_token_ids: token ids that the model's generation settings name as ends.
            n_embeddings: number of token ids that the model has embeddings for. None means unknown.

        Raises:
            ConfigError: there is no chat template, it fails or leaves out turns, or no end of turn can be found.
        """
        self._tokenizer = tokenizer
        self._chat = chat
        self._template = _find_template(tokenizer, chat)
        self._known_ends = tuple(end_token_ids)
        self._n_embeddings = n_embeddings
        self._sound: set[tuple[str, ...]] = set()
        self._last: tuple[Example, Prompt] | None = None
        self._read_prompt = lru_cache(maxsize=8)(self._tokenize)  # of one row it is asked for several times
        self._check_turns(("user", "assistant"))
        self._check_turns(("user",))
        self._control = ControlTokens(tokenizer, () if chat.control_tokens_in_rows else self._list_control_tokens())
        self._end = self._find_end_of_turn()

    @property
    def end_token_id(self) -> int:
        """The token id that ends the assistant's turn."""
        return self._end

    @property
    def stop_token_ids(self) -> frozenset[int]:
        """Token ids at which generation stops: the end of turn, and all that the model and the tokenizer name."""
        eos = self._tokenizer.eos_token_id
        return frozenset([self._end, *self._known_ends, *([] if eos is None else [eos])])

    def prompt(self, example: Example) -> list[int]:
        """Token ids of everything up to where the assistant starts to write."""
        return list(self._read_prompt(self._render_prompt(example).text))

    def opening(self, example: Example) -> str:
        """The text at the end of the prompt that opens a thought. Empty if none is open."""
        return self._render_prompt(example).opening

    def answers(self, example: Example, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each assistant text as a continuation of the prompt, without the end of turn.

        Raises:
            ConfigError: the prompt ends inside a thought.
        """
        prompt = self._render_prompt(example)
        if prompt.opening:
            raise ConfigError(
                "options cannot be scored inside a thought, but the student's chat template opens one: set student.thoughts"
                " to close"
            )
        return self._continue(prompt.text, texts)

    def learned(self, example: Example) -> list[int]:
        """Token ids that the student learns to write: the row's answer and the end of turn.

        Raises:
            DatasetError: the answer is empty, or does not fit an open thought. The message names the row.
        """
        prompt = self._render_prompt(example)
        return [*self._continue(prompt.text, [_join_answer(example, prompt)])[0], self._end]

    def show_learned(self, example: Example) -> str:
        """The same as readable text.

        Raises:
            DatasetError: as for `learned`.
        """
        end = str(self._tokenizer.convert_ids_to_tokens(self._end))
        return _join_answer(example, self._render_prompt(example)) + end

    def count_text(self, text: str) -> int:
        """Number of tokens of a text on its own."""
        return len(self._tokenize(self._control.hide(text)))

    def show(self, example: Example) -> str:
        """The prompt as the student sees it, as readable text."""
        return self._control.show(self._render_prompt(example).text)

    def _continue(self, prompt: str, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of `texts` after the prompt. They are tokenized together with the prompt, unless that would change the prompt's last token."""
        before = self._read_prompt(prompt)
        found = []
        for text in map(self._control.hide, texts):
            joint = self._tokenize(prompt + text)
            found.append(joint[len(before) :] if joint[: len(before)] == before else self._tokenize(text))
        return found

    def _render_prompt(self, example: Example) -> Prompt:
        """Of one row it is asked for several times in a row."""
        last = self._last
        if last is None or last[0] is not example:
            last = self._last = (example, self._make_prompt(example))
        return last[1]

    def _make_prompt(self, example: Example) -> Prompt:
        system = self._chat.system if example.system is None else example.system
        turns = [{**turn, "content": self._control.hide(turn["content"])} for turn in list_turns(example, system)]
        try:
            self._check_turns(tuple(turn["role"] for turn in turns))
            text = self._render(turns, add_generation_prompt=True)
        except ConfigError as exc:
            if example.system is None and not example.history:
                raise
            raise ConfigError(f"row {example.id!r}: {exc}") from exc
        if system == "":
            text = min(text, self._render_empty_system(turns) or text, key=len)
        return self._settle_thought(text, turns[-1]["content"])

    def _settle_thought(self, text: str, question: str) -> Prompt:
        """Close a thought that the template opens, unless it is meant to stay open."""
        tail = text.rpartition(question.strip())[2] if question.strip() else text
        opener = find_open_thought(tail)
        if not opener:
            return Prompt(text)
        opening = tail[tail.rindex(opener) :]
        if self._chat.thoughts == "open":
            return Prompt(text, opening)
        line = "\n" if opening.endswith("\n") else ""
        return Prompt(f"{text}{line}{find_closer(opener)}\n\n", closed=opener)

    def _render_empty_system(self, turns: list[dict[str, str]]) -> str | None:
        """Render with an empty system turn. Some templates then leave out their default system turn; others fail."""
        try:
            return self._apply([{"role": "system", "content": ""}, *turns], add_generation_prompt=True)
        except TemplateFault:
            return None

    def _render(self, turns: list[dict[str, str]], *, add_generation_prompt: bool) -> str:
        try:
            return self._apply(turns, add_generation_prompt=add_generation_prompt)
        except TemplateFault as exc:
            raise ConfigError(self._explain(exc, [turn["role"] for turn in turns])) from exc

    def _apply(self, turns: Sequence[Mapping[str, Any]], *, add_generation_prompt: bool) -> str:
        """As `apply_chat_template` of transformers, within limits."""
        variables = {
            **{name: str(token) for name, token in self._tokenizer.special_tokens_map.items()},
            "date_string": TODAY.strftime("%d %b %Y"),
            **self._chat.arguments,
            **{"messages": list(turns), "tools": None, "documents": None},
            "add_generation_prompt": add_generation_prompt,
        }
        try:
            return render_chats(self._template).render("chat", variables)
        except TemplateLimitError as exc:
            raise ConfigError(f"the student's chat template {exc} for one row. {_WAY_OUT}") from exc

    def _explain(self, exc: TemplateFault, roles: Sequence[str]) -> str:
        """What the template's failure means for these turns, in words."""
        if exc.line is not None:
            return f"the student's chat template has an error in line {exc.line}: {str(exc).rstrip('.')}. {_WAY_OUT}"
        if roles[0] == "system" and self._takes(roles[1:]):
            return f"the student's chat template takes no system turn ({exc}): {_NO_SYSTEM}"
        if exc.kind == "TemplateError":
            return f"the student's chat template refuses the turns {', '.join(roles)}: {exc}"
        if self._wants_parts(roles):
            return _PARTS
        return f"the student's chat template fails ({exc.kind}: {exc}). {_WAY_OUT}"

    def _takes(self, roles: Sequence[str]) -> bool:
        try:
            self._apply(_make_sentinels(roles), add_generation_prompt=roles[-1] == "user")
        except TemplateFault:
            return False
        return True

    def _wants_parts(self, roles: Sequence[str]) -> bool:
        turns = [{**turn, "content": [{"type": "text", "text": turn["content"]}]} for turn in _make_sentinels(roles)]
        try:
            text = self._apply(turns, add_generation_prompt=roles[-1] == "user")
        except TemplateFault:
            return False
        return "'text'" not in text and not _find_missing(roles, text)

    def _check_turns(self, roles: tuple[str, ...]) -> None:
        """Refuse a template that leaves out or changes a turn of such a conversation. Each sequence of roles is checked once."""
        if roles in self._sound:
            return
        text = self._render(_make_sentinels(roles), add_generation_prompt=roles[-1] == "user")
        missing = _find_missing(roles, text)
        if missing and self._wants_parts(roles):
            raise ConfigError(_PARTS)
        if "system" in missing:
            raise ConfigError(f"the student's chat template leaves the system turn out: {_NO_SYSTEM}")
        if missing:
            raise ConfigError(
                f"the student's chat template leaves out the turn of the {missing[0]} (of {', '.join(roles)}), or changes its text. {_WAY_OUT}"
            )
        self._sound.add(roles)

    def _list_control_tokens(self) -> list[str]:
        """Special tokens and those that the template writes around turns. Line breaks and the marks of thoughts are ordinary text."""
        turns = _make_sentinels(("user", "assistant"))
        frame = self._render(turns, add_generation_prompt=False) + self._render(turns[:1], add_generation_prompt=True)
        for turn in turns:
            frame = frame.replace(turn["content"], "")
        added = [token for token in self._added.values() if not str(token.content).isspace()]
        named = [t.content for t in added if t.special or (t.content in frame and not is_mark(str(t.content)))]
        return [*self._tokenizer.all_special_tokens, *named]

    def _find_end_of_turn(self) -> int:
        """The first token after an assistant's text in the template that is known as a control token.

        Special tokens and the model's own end tokens come first, then any other added token. If the template writes
        none of these, the tokenizer's end of sequence is used, or the model's end token.
        """
        rendered = self._render(_make_sentinels(("user", "assistant")), add_generation_prompt=False)
        rest = self._tokenize(rendered.rpartition(SENTINEL.format(1))[2])
        special = {number for number, token in self._added.items() if token.special}
        special |= {self._tokenizer.convert_tokens_to_ids(name) for name in self._tokenizer.all_special_tokens}
        special |= set(self._known_ends)
        added = {number for number, token in self._added.items() if not str(token.content).isspace()}
        eos = self._tokenizer.eos_token_id
        last = [*([] if eos is None else [eos]), *self._known_ends]
        for candidates in ([t for t in rest if t in special], [t for t in rest if t in added], last):
            if candidates:
                return int(candidates[0])
        raise ConfigError(
            "the student's chat template has no end of turn and its tokenizer no end of sequence token: set"
            " student.chat_template to one that ends turns, or eos_token in the student's tokenizer_config.json"
        )

    @cached_property
    def _added(self) -> Mapping[int, Any]:
        return dict(self._tokenizer.added_tokens_decoder)

    def _tokenize(self, text: str) -> list[int]:
        token_ids = self._control.encode(text)
        if self._n_embeddings is not None and token_ids and max(token_ids) >= self._n_embeddings:
            number = max(token_ids)
            raise ConfigError(
                f"token {self._tokenizer.convert_ids_to_tokens(number)!r} has the number {number}, but the student has only"
                f" {self._n_embeddings} tokens: it was added to the tokenizer and the model was not resized. Resize it"
                " (model.resize_token_embeddings(len(tokenizer))) and save it, or choose a tokenizer that fits."
            )
        return token_ids


_WAY_OUT = "Correct it in the student's folder, or set student.chat_template to another."
_NO_SYSTEM = "set student.system to null and put its text into task.instruction, or set student.chat_template to one that shows it"

_PARTS = (
    "the student's chat template expects each turn's content in parts, as vision models do. Set"
    " student.chat_template to one for text."
)


def _find_template(tokenizer: Tokenizer, chat: ChatSpec) -> str:
    if not (chat.template or tokenizer.chat_template):
        raise ConfigError(
            "the student's tokenizer has no chat template: choose an instruct model, or set student.chat_template to the"
            " text of one or to its file"
        )
    try:
        template: str = tokenizer.get_chat_template(chat.template)
    except ValueError as exc:
        raise ConfigError(
            f"the student's tokenizer has several chat templates, and none is the default ({exc}). Set"
            " student.chat_template to the text of one or to its file."
        ) from exc
    return template


def list_turns(example: Example, system: str | None = None) -> list[dict[str, str]]:
    """The row's turns up to the one to answer, in the form that chat templates take."""
    first = [{"role": "system", "content": system}] if system else []
    earlier = [{"role": turn.role, "content": turn.content} for turn in example.history]
    return [*first, *earlier, {"role": "user", "content": example.prompt}]


def _find_missing(roles: Sequence[str], text: str) -> list[str]:
    """Turns whose sentinel is missing from the rendered text."""
    return [role for i, role in enumerate(roles) if SENTINEL.format(i) not in text]


def _make_sentinels(roles: Sequence[str]) -> list[dict[str, str]]:
    return [{"role": role, "content": SENTINEL.format(i)} for i, role in enumerate(roles)]


def _join_answer(example: Example, prompt: Prompt) -> str:
    """The assistant's text as it continues the prompt."""
    if not example.answer.strip():
        raise DatasetError(f"row {example.id!r} has an empty answer: there is nothing to learn from it. Drop the row.")
    if prompt.closed and find_closer(prompt.closed) in example.answer:
        raise DatasetError(
            f"row {example.id!r}: its answer contains a thought ({find_closer(prompt.closed)}), but the one that the student's"
            " chat template opens is closed: set student.thoughts to open, or remove the thoughts from the answers"
        )
    return _join_thought(example, prompt.opening) if prompt.opening else example.answer


def _join_thought(example: Example, opening: str) -> str:
    """The answer as it continues the thought that the prompt has opened."""
    opener = find_open_thought(opening)
    if find_closer(opener) not in example.answer:
        raise DatasetError(
            f"row {example.id!r}: its answer has no thought, but the student's chat template opens one ({opener}) and"
            " student.thoughts is open: set it to close, or give each answer its thought, ended by "
            + find_closer(opener)
        )
    return example.answer.lstrip().removeprefix(opener).lstrip("\n")
