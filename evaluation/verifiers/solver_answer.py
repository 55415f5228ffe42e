"""Reads a solver's answer: the option that it picks, or that it gives none."""

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

from pada_agent.evaluation.verifiers.option_label import find_closed_label, find_label, label_at
from pada_agent.evaluation.verifiers.text import WORD_CHARACTER, bare_text, find_same, narrow

N_LETTERS = 26

_LONE_LETTER = re.compile(
    rf"\W*[A-Za-z]\W*\Z|.*(?<!{WORD_CHARACTER})(?<!['’])(?![AI]\s+\w)[A-Z](?!{WORD_CHARACTER}|['’])", re.DOTALL
)
"""A text that is a letter or names one: `b`, `Plan B`, `both A and C`, `方案B`. Not the words `A` and `I` in front of another."""
_LONE_NUMBER = re.compile(rf".*(?<!{WORD_CHARACTER})\d+(?!{WORD_CHARACTER})", re.DOTALL)
_ENDS_OPTION = re.compile(r"\W*(?:[:.,;(–—]|\s-\s|\s(?:because|since)\b)")
_DECLINES = re.compile(
    r"""(?:(?:sorry|unfortunately)\W+)?(?:
        (?:i|we|it|this|that|one|the\s\w+)?\s?(?:cannot|can't|can\snot|could\snot|couldn't)\s
            (?:tell|say|know|determine|decide|answer|judge|find|solve|see|help|provide|give|work|be\s\w+ed|be\sknown)\b
        | (?:i|we)\s(?:do\snot|don't)\s(?:know|have|see)\b
        | (?:i|we)\shave\sno\sidea\b
        | (?:i'm|i\sam|we're|we\sare|am)\s(?:not\s(?:sure|certain|able)|unsure|unable|uncertain)\b
        | (?:it|this|that|the\s\w+)(?:'s|\sis)\s(?:unclear|unknown|undecidable|impossible|not\s(?:clear|possible|known|given|stated))\b
        | (?:not\senough|insufficient|too\slittle)\s(?:information|context|data|detail)
        | impossible\sto\s
        | (?:unknown|unclear|undetermined|undecidable|unanswerable|unsure|not\ssure|uncertain|no\sidea|no\sanswer|n/?a)\Z
    )""",
    re.VERBOSE,
)
"""Words of a solver that gives no answer, in lower case and without marks around them."""
_DECLINES_ELSEWHERE = re.compile(
    r"""(?:leider|désolé|lo siento|lamento|desculpe|mi dispiace|к\sсожалению|抱歉|对不起|很遗憾)?[\W_]*(?:
        (?:(?:das|es|dies|ich|man)\s)?(?:kann|konnte|lässt)\s(?:(?:das|es|ich|man|sich)\s){0,2}(?:so\s|hier\s|daraus\s)?
            (?:nicht|keine)\s(?:\w+\s)?(?:sagen|wissen|geben|helfen|lösen|\w+ieren|\w+rechnen|\w+antworten|bestimmen|\w+\swerden|\w+teilen|\w+scheiden|\w+mitteln)\b
        | (?:(?:ich|das|man)\s)?(?:weiss|wissen)\s(?:(?:ich|das|es|man)\s)?nicht\b | keine\s(?:ahnung|antwort)\b
        | (?:zu\swenig|nicht\sgen(?:ug|ügend)|unzureichende|keine)\s(?:information|angaben|daten)
        | (?:(?:das|es|die\s\w+)\sist\s)?(?:unbekannt|unklar|nicht\s(?:bekannt|bestimmbar|angegeben|möglich|genannt))\Z
        | (?:je|on)\sne\s(?:sais|peux|peut|saurais|connais)\b | (?:il\sest\s|c'est\s)?impossible\s(?:de|à)\b | aucune\s(?:idée|réponse)\b
        | pas\sassez\s(?:d'|de\s)(?:information|donnée) | (?:informations?|données)\sinsuffisante | (?:c'est\s)?(?:inconnu|indéterminé)e?\Z
        | no\s(?:lo\s)?(?:sé|sabemos)\b | no\s(?:se\s)?pued[eo]n?\s(?:\w+[aei]r(?:lo|te)?)\b | (?:es\s|é\s|è\s|e\s)?(?:imposible|impossível|impossibile)\b
        | ni\sidea\b | (?:no\shay\s|sin\s)(?:suficiente|respuesta) | información\sinsuficiente | (?:desconocid|desconhecid|sconosciut)[oa]\Z
        | não\s(?:sei|posso|se\spode|é\spossível|dá\spara)\b | informaç(?:ão|ões)\sinsuficiente
        | non\s(?:lo\s)?so\b | non\s(?:posso|si\spuò|è\spossibile)\b | (?:informazioni|dati)\sinsufficient
        | (?:я\s)?не\s(?:знаю|могу|уверен) | (?:это\s)?(?:невозможно|неизвестно|нельзя\s(?:сказать|определить)|недостаточно\s(?:информации|данных))
        | (?:我|题目|文中|这个?问题|该问题)?(?:都|中|也|并|的)?(?:不知道|不清楚|不确定|不確定|无法|無法|不能(?:确定|判断|回答)|未知\Z|没有(?:足够|答案)|(?:信息|資訊|资料)不足)
        | (?:この|その)?(?:問題|質問|情報|答え)?(?:は|が|からは|だけでは)?(?:分か(?:りません|らない)|わか(?:りません|らない)|不明(?:です)?\Z|情報(?:が|は)?不足
            |(?<=情報が)不足|(?:判断|特定|回答|決定|計算)でき(?:ません|ない|ず)|答えられ(?:ません|ない))
        | (?:잘\s)?(?:알\s수\s없|모르겠|모릅니다|모름\Z|정보가?\s?부족|(?:판단|결정|답|대답)할\s수\s없)
    )""",
    re.VERBOSE,
)
"""The same in other languages: judges answer in that of the rows. Case folded, so that `weiß` is `weiss`."""


class Marks(NamedTuple):
    """What options are listed under, and what a solver is asked for."""

    kind: Literal["letter", "number", "exact words"]
    marks: tuple[str, ...]
    """One for each option. Empty for `exact words`."""


def choose_marks(options: Sequence[str]) -> Marks:
    """Letters; numbers if an option's text has a letter of its own, or if there are more options than letters; none if
    an option's text has a number as well.

    So an answer never names one option by its mark and another by its text. The order of the options makes no difference.
    """
    texts = [narrow(option) for option in options]
    if len(options) <= N_LETTERS and not any(map(_LONE_LETTER.match, texts)):
        return Marks("letter", tuple(map(label_at, range(len(options)))))
    if not any(map(_LONE_NUMBER.match, texts)):
        return Marks("number", tuple(str(n) for n in range(1, len(options) + 1)))
    return Marks("exact words", ())


def pick_option(response: str, options: Sequence[str]) -> str | None:
    """The option that a response gives by its text or its mark (`choose_marks`). None if it gives none or several."""
    same = find_same(response, options)
    if same is not None:
        return same
    if begun := _find_begun(bare_text(response), options):
        return begun.pop() if len(begun) == 1 else None
    if declines(response):
        return None
    marks = choose_marks(options).marks
    mark = find_label(response, marks).label if marks else None
    if mark is not None:
        return options[marks.index(mark)]
    find = find_label if any(len(bare_text(option)) <= 1 for option in options) else find_closed_label
    return find(response, options).label


def declines(response: str) -> bool:
    """Whether a response gives no answer: it is empty, or says that there is none."""
    text = bare_text(response).replace("’", "'")
    return not re.search(r"\w", text) or bool(_DECLINES.match(text) or _DECLINES_ELSEWHERE.match(text))


def _find_begun(text: str, options: Sequence[str]) -> set[str]:
    """The options with the longest text that `text` begins with, if a note follows: `fees: a charge`."""
    begun = [o for o in options if text.startswith(bare_text(o)) and _ENDS_OPTION.match(text, len(bare_text(o)))]
    longest = max((len(bare_text(option)) for option in begun), default=0)
    return {option for option in begun if len(bare_text(option)) == longest > 0}
