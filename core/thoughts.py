"""Thoughts that a model writes before its answer, in the forms that models are known to write them."""

import re
from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

_NAMES = r"(?:\w{1,20}[:_])?(?:think(?:ing)?|thoughts?|reasoning|scratchpad|reflection|analysis|monologue)"
"""Of elements, as in `<think>`; with a prefix as in `<seed:think>`."""

PAIRS = {
    "<|begin_of_thought|>": "<|end_of_thought|>",
    "<|START_THINKING|>": "<|END_THINKING|>",
    "<|channel>": "<channel|>",
    "<|inner_prefix|>": "<|inner_suffix|>",
    "◁think▷": "◁/think▷",
    "[THINK]": "[/THINK]",
}
"""Marks that are no elements: what opens a thought, and what closes it."""

_CLOSES = {closer: opener for opener, closer in PAIRS.items()}
_MARK = re.compile(
    "|".join(re.escape(mark) for pair in PAIRS.items() for mark in pair)
    + rf"|(?i:<\|?(?P<end>/?)(?P<name>{_NAMES})(?:\s[^<>]{{0,100}})?\|?>)"
)
_FINAL_CHANNEL = re.compile(r"<\|channel\|>final[^<]{0,100}(?:<\|constrain\|>[^<]{0,100})?<\|message\|>")
_END_OF_MESSAGE = re.compile(r"<\|(?:end|return|call)\|>")
CHANNEL_TOKENS = ("<|channel|>", "<|message|>", "<|constrain|>", "<|start|>", "<|end|>", "<|return|>", "<|call|>")
"""Control tokens of students that write their thoughts into channels (gpt-oss), the one that names a channel first."""
_CHANNEL_WORDS = re.compile(r"\s*analysis.*assistantfinal", re.DOTALL)
"""What is left of channels when control tokens are not shown."""

_THINKING_ALOUD = (
    r"(?:here(?:'s| is| are) )?(?:my |a |the )?(?:thinking|thoughts?|reasoning)(?: process)?\W*(?:\n|:)",
    r"(?:ok(?:ay)?|hmm+|alright|wait|so|first|got it)\W+(?:\w+ ){0,3}?(?:let me|let's|i need|i have|i should|we need|the user)\b",
    r"let(?: me|'s) (?:think|see|start|break|tackle|analy[sz]e|consider)\b|the user (?:wants|asks|needs)|(?:we|i) (?:need|have|must|should)(?: first)? to\b",
    r"(?:思考过程|思考|推理|推論|思考過程)[^\w\n]{0,5}(?:\n|[:：])",
    r"(?:嗯|好的?|首先|现在|那么|接下来|让我们?)[，,、。\s…]*(?:我?现在)?(?:用户|让我|我(?:需要|要|得|应该|先|们)|先|需要|看看|想想|思考)|用户(?:要求|要我|想|让我|需要|希望)|我(?:现在)?(?:需要|得|应该)先?",
    r"(?:えっと|さて|まず|では|よし)[、。\s]*\w{0,12}?(?:ユーザー|考え|必要|しましょう)|ユーザー(?:は|が)",
    r"(?:음|좋아|먼저|우선|자)[,.\s…]*\w{0,6}? ?(?:사용자|제가|내가|생각)|사용자(?:가|는)",
    r"(?:ok(?:ay)?|also|gut|zuerst|zunächst|hm+)\W+(?:\w+ ){0,2}?(?:ich muss|ich soll|ich brauche|muss ich|der (?:be)?nutzer|lass)",
    r"(?:ok|d'accord|bon|alors|d'abord|très bien)\W+(?:\w+ ){0,2}?(?:l'utilisateur|je dois|il faut|voyons|j'ai besoin)",
    r"(?:ok|bien|vale|de acuerdo|primero|bueno)\W+(?:\w+ ){0,2}?(?:el usuario|necesito|tengo que|debo|vamos a)",
    r"(?:хорошо|итак|так|сначала|ладно)\W+(?:\w+ ){0,2}?(?:пользователь|мне нужно|нужно|я должен|надо)|пользователь (?:хочет|просит)",
)
"""How models begin to think in plain words, in the languages of the rows that they are asked about."""
_BEGINS_TO_THINK = re.compile(rf"\W*(?:{'|'.join(_THINKING_ALOUD)})", re.IGNORECASE)
_INTRODUCES_AN_ANSWER = re.compile(
    r"(?![^\n]*(?:user|nutzer|utilisateur|usuario|пользовател|用户|ユーザー|사용자|think|thought|reasoning|思考|推理|推論))"
    r"[^\n]{0,200}[:：!！][ \t]*\n\s*(?:```\w*\s*)?[\[{]",
    re.IGNORECASE,
)
"""A first line such as `Let's start:`, with the answer below it. Thoughts say that they are some, or what the user wants."""
_COMES_TO_AN_ANSWER = re.compile(
    r"(?<![\"'])(?:\b(?:answer|response|output|result|json|antwort|ausgabe|ergebnis|réponse|sortie|résultat|respuesta|salida|resultado"
    r"|ответ|результат)s?\b|(?:答案|回答|输出|結果|结果|答え|出力|답변|출력))[^\w\"']{0,5}(?:\n|[:：])",
    re.IGNORECASE,
)

Span = tuple[int, int]
"""From, and up to without."""


class _Mark(NamedTuple):
    start: int
    end: int
    opens: str
    """The kind of thought that begins here; empty where one ends."""
    closes: str


def strip_thoughts(text: str) -> str:
    """The answer without the thoughts around it; empty where a thought was cut off before an answer came.

    Text without any mark is given back as it is.
    """
    spans = find_answer(text)
    if spans == [(0, len(text))]:
        return text
    return "".join(text[start:end] for start, end in spans).strip()


def is_unfinished_thought(text: str) -> bool:
    """Whether a text that was cut off thinks aloud in plain words and has not come to its answer."""
    begun = _BEGINS_TO_THINK.match(text)
    if begun is None or _INTRODUCES_AN_ANSWER.match(text):
        return False
    return _COMES_TO_AN_ANSWER.search(text, begun.end()) is None


def take_answer(text: str) -> str:
    """What an answer to learn comes to: the text without its thoughts, or all of it where nothing else is left.

    Such an answer was not cut off: a mark that opens what nothing closes is part of it.
    """
    if find_open_thought(text):
        closed = max((mark.end for mark in _marks(text, 0, len(text)) if mark.closes), default=0)
        return text[closed:].strip() or text
    return strip_thoughts(text) or text


def strip_thoughts_unless_in(golds: Sequence[str], text: str) -> str:
    """The answer of a response without its thoughts. If a right answer has marks of its own, such as
    `<analysis>good</analysis>`, the response is read in the same way as the right answers are (`take_answer`).
    """
    return take_answer(text) if any(has_marks(take_answer(gold)) for gold in golds) else strip_thoughts(text)


def find_answer(text: str) -> list[Span]:
    """Where in the text the answer is.

    It is what follows the last closing mark, which may stand alone: some servers leave the opening one in the prompt.
    Where nothing follows, it is what stands outside of the thoughts.
    """
    start, end = _find_final_channel(text)
    parts = _outside(text, start, end)
    if parts is None:
        return [(start, end)]
    *before, last = parts
    return [last] if text[last[0] : last[1]].strip() else before


def has_marks(text: str) -> bool:
    """Whether anything in the text may open or close a thought."""
    return bool(_MARK.search(text) or "<|channel|>" in text or _CHANNEL_WORDS.match(text))


def is_mark(text: str) -> bool:
    """Whether the text is nothing but a mark."""
    return bool(_MARK.fullmatch(text))


def cut_thoughts(text: str) -> str:
    """The text up to its first mark."""
    found = _MARK.search(text)
    return text[: found.start()] if found else text


def find_closer(opener: str) -> str:
    """The mark that closes what `opener`, as it was written, has opened."""
    found = _MARK.fullmatch(opener)
    if found is None or not found["name"]:
        return PAIRS[opener]
    bar = "|" if opener.startswith("<|") else ""
    return f"<{bar}/{found['name']}{bar}>"


def find_open_thought(text: str) -> str:
    """The mark that opened a thought which is still open where `text` ends; empty if there is none."""
    marks = deque(_marks(text, 0, len(text)), maxlen=1)
    return text[marks[0].start : marks[0].end] if marks and marks[0].opens else ""


def _outside(text: str, start: int, end: int) -> list[Span] | None:
    """The parts outside of thoughts, the last of them from the last closing mark on; None where there is no mark."""
    parts: list[Span] = []
    kind, n_marks = "", 0
    for mark in _marks(text, start, end):
        n_marks += 1
        if mark.opens and not kind:
            parts.append((start, mark.start))
            kind = mark.opens
        elif mark.closes and not kind:
            parts.clear()
            start = mark.end
        elif mark.closes == kind:
            kind, start = "", mark.end
    return None if not n_marks else [*parts, (end, end) if kind else (start, end)]


def _marks(text: str, start: int, end: int) -> Iterator[_Mark]:
    for found in _MARK.finditer(text, start, end):
        written = found.group()
        kind = (found["name"] or _CLOSES.get(written, written)).lower()
        ends = bool(found["end"]) or written in _CLOSES
        yield _Mark(found.start(), found.end(), "" if ends else kind, kind if ends else "")


def _find_final_channel(text: str) -> Span:
    """The last message of the channel `final` (gpt-oss); nothing where other channels are all there is."""
    if "<|channel|>" in text:
        found = deque(_FINAL_CHANNEL.finditer(text), maxlen=1)
        if not found:
            return len(text), len(text)
        over = _END_OF_MESSAGE.search(text, found[0].end())
        return found[0].end(), over.start() if over else len(text)
    words = _CHANNEL_WORDS.match(text)
    return words.end() if words else 0, len(text)
