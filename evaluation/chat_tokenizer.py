"""Conversations as the student's tokens. The same rendering serves training, scoring, generation and measuring lengths."""

from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any, Literal, Protocol

from pada_agent.core.errors import ConfigError
from pada_agent.core.jobs import ChatSpec
from pada_agent.core.records import Example
from pada_agent.core.thoughts import find_open_thought
from pada_agent.evaluation.added_tokens import AddedTokens
from pada_agent.evaluation.control_tokens import ControlTokens
from pada_agent.evaluation.student_prompt import Frame, Prompt, choose_lead, find_frame, join_answer, settle_thought
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
        self._added = AddedTokens(tokenizer)
        self._frame = lru_cache(maxsize=64)(self._find_frame)
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
        """Token ids of each assistant text as a continuation of the prompt: the template's lead and the text, without the end of turn.

        Raises:
            ConfigError: the prompt ends inside a thought.
        """
        prompt = self._render_prompt(example)
        if prompt.opening:
            raise ConfigError(
                "options cannot be scored inside a thought, but the student's chat template opens one: set student.thoughts"
                " to close"
            )
        return [self._continue(prompt.text, prompt.lead, text) for text in texts]

    def count_lead(self, example: Example, answers: Sequence[Sequence[int]]) -> int:
        """How many tokens at the start of all these `answers` are the template's lead and not yet their text."""
        lead = self.lead(example)
        return min((_count_common(lead, answer) for answer in answers), default=0) if lead else 0

    def lead(self, example: Example) -> list[int]:
        """Token ids of the text that the template puts between prompt and answer. Usually empty."""
        prompt = self._render_prompt(example)
        return self._continue(prompt.text, prompt.lead, "") if prompt.lead else []

    def learned(self, example: Example) -> list[int]:
        """Token ids that the student learns to write: the template's lead, the row's answer and the end of turn.

        Raises:
            DatasetError: the answer is empty, or does not fit an open thought. The message names the row.
        """
        prompt = self._render_prompt(example)
        answer = join_answer(example, prompt)
        return [*self._continue(prompt.text, choose_lead(prompt, answer), answer), self._end]

    def show_learned(self, example: Example) -> str:
        """The same as readable text.

        Raises:
            DatasetError: as for `learned`.
        """
        end = str(self._tokenizer.convert_ids_to_tokens(self._end))
        prompt = self._render_prompt(example)
        answer = join_answer(example, prompt)
        return choose_lead(prompt, answer) + answer + end

    def count_text(self, text: str) -> int:
        """Number of tokens that the student writes to answer with this text, without the end of turn."""
        return len(self._tokenize(settle_thought("", self._first, "close").lead + self._control.hide(text)))

    def show(self, example: Example) -> str:
        """The prompt as the student sees it, as readable text."""
        return self._control.show(self._render_prompt(example).text)

    @property
    def warnings(self) -> list[str]:
        """What a person should know about the chat template."""
        return [*self._warn_of_start(), *self._warn_of_place()]

    def _warn_of_start(self) -> list[str]:
        """A template for a base model may lack the token with which all texts began that the model has read."""
        start = self._added.find_start() if self._chat.template else ""
        if self._render(_make_sentinels(("user",)), add_generation_prompt=True).startswith(start):
            return []
        return [
            f"the student's tokenizer begins texts with {start!r}, but student.chat_template does not: without it, some models (Gemma) write"
            " nonsense. Begin the template with {{ bos_token }}, unless the student was trained without it."
        ]

    def _warn_of_place(self) -> list[str]:
        """Answers may stand where the student has never seen one."""
        if self._first.is_begun_by_prompt or find_open_thought(self._first.asked):
            return []
        answered = self._first.answered
        place = (
            "renders no conversation with an answer" if answered is None else f"puts answers behind {_end(answered)}"
        )
        return [
            f"the student's chat template ends a prompt with {_end(self._first.asked)}, but {place}: answers are trained and scored"
            " directly after the prompt, where the student may never have seen one. Set student.chat_template to one whose"
            " conversations begin with the prompt."
        ]

    @property
    def rendering(self) -> Literal[1, 2]:
        """Number for `ChatSpec.rendering`: 2 if the template has a lead or opens a thought, or if special tokens are text. Else 1."""
        is_framed = self._first.lead or find_open_thought(self._first.asked)
        return 2 if is_framed or self._added.mislead(self._render_frame()) else 1

    @property
    def _variables(self) -> dict[str, Any]:
        """Values of the template's variables, the same for all rows."""
        return {"date_string": TODAY.strftime("%d %b %Y"), **self._chat.arguments}

    @cached_property
    def _first(self) -> Frame:
        """The frame of rows without turns of their own."""
        return self._frame((("system", self._chat.system),) if self._chat.system else ())

    def _continue(self, prompt: str, lead: str, text: str) -> list[int]:
        """Token ids of `text` after prompt and lead. They are tokenized together, unless that would change the prompt's last token."""
        before, after = self._read_prompt(prompt), lead + self._control.hide(text)
        joint = self._tokenize(prompt + after)
        return joint[len(before) :] if joint[: len(before)] == before else self._tokenize(after)

    def _render_prompt(self, example: Example) -> Prompt:
        """The row's prompt. The last one is cached, because it is requested several times for each row."""
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
        if system == "" and len(shorter := self._render_empty_system(turns) or text) < len(text):
            text, turns = shorter, [_EMPTY_SYSTEM, *turns]
        return settle_thought(text, self._match_frame(text, turns), self._chat.thoughts)

    def _match_frame(self, text: str, turns: list[dict[str, str]]) -> Frame:
        """The frame of the rendered turns. Most templates write the same one whatever the question is."""
        earlier = tuple((turn["role"], turn["content"]) for turn in turns[:-1])
        frame = self._frame(earlier)
        return frame if text.endswith(frame.asked) else self._frame(earlier, turns[-1]["content"])

    def _find_frame(self, earlier: tuple[tuple[str, str], ...], question: str = "") -> Frame:
        """What the template writes after a text that begins with `question`."""
        asked, answered = SENTINEL.format(0), SENTINEL.format(1)
        turns = [{"role": role, "content": content} for role, content in (*earlier, ("user", question + asked))]
        prompt = self._render(turns, add_generation_prompt=True)
        try:
            whole = self._apply([*turns, {"role": "assistant", "content": answered}], add_generation_prompt=False)
        except TemplateFault:
            whole = None
        return find_frame(prompt, whole, question=asked, answer=answered)

    def _render_empty_system(self, turns: list[dict[str, str]]) -> str | None:
        """Render with an empty system turn. Some templates then leave out their default system turn; others fail."""
        try:
            return self._apply([_EMPTY_SYSTEM, *turns], add_generation_prompt=True)
        except TemplateFault:
            return None

    def _render(self, turns: list[dict[str, str]], *, add_generation_prompt: bool) -> str:
        try:
            return self._apply(turns, add_generation_prompt=add_generation_prompt)
        except TemplateFault as exc:
            raise ConfigError(self._explain(exc, [turn["role"] for turn in turns])) from exc

    def _apply(self, turns: Sequence[Mapping[str, Any]], *, add_generation_prompt: bool) -> str:
        """Render turns like `apply_chat_template` of transformers, within limits."""
        variables = {
            **{name: str(token) for name, token in self._tokenizer.special_tokens_map.items()},
            **self._variables,
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
        """Special tokens and those that the template writes around turns."""
        return self._added.list_control(
            set(self._tokenizer(self._render_frame(), add_special_tokens=False)["input_ids"])
        )

    def _render_frame(self) -> str:
        """What the template writes around turns."""
        turns = _make_sentinels(("user", "assistant"))
        frame = self._render(turns, add_generation_prompt=False) + self._render(turns[:1], add_generation_prompt=True)
        for turn in turns:
            frame = frame.replace(turn["content"], "")
        return frame

    def _find_end_of_turn(self) -> int:
        """The first token after an assistant's text in the template that is known as a control token.

        Special tokens and the model's own end tokens come first, then any other added token. If the template writes
        none of these, the tokenizer's end of sequence is used, or the model's end token.
        """
        rendered = self._render(_make_sentinels(("user", "assistant")), add_generation_prompt=False)
        rest = self._tokenize(rendered.rpartition(SENTINEL.format(1))[2])
        special = self._added.special | set(self._known_ends)
        added = {number for number, name in self._added.names.items() if not name.isspace()}
        eos = self._tokenizer.eos_token_id
        last = [*([] if eos is None else [eos]), *self._known_ends]
        for candidates in ([t for t in rest if t in special], [t for t in rest if t in added], last):
            if candidates:
                return int(candidates[0])
        raise ConfigError(
            "the student's chat template has no end of turn and its tokenizer no end of sequence token: set"
            " student.chat_template to one that ends turns, or eos_token in the student's tokenizer_config.json"
        )

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


_EMPTY_SYSTEM = {"role": "system", "content": ""}

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


def _count_common(one: Sequence[int], other: Sequence[int]) -> int:
    """Number of equal tokens at the start of both."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _end(text: str) -> str:
    return repr(text[-60:])
