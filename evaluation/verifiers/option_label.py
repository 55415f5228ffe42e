"""Finds the option label that a response settles on."""

import re
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

from pada_agent.core.lines import split_lines
from pada_agent.evaluation.verifiers.text import (
    JOINING,
    WORD_CHARACTER,
    drop_invisible,
    find_same,
    narrow,
    normalize_text,
    split_words,
)

_STATEMENT = r"(?i:\b(?:answer|option|choice)(?:\s+is|\s+would\s+be)?)[\"']?\s*[:=]?\s*(?i:option\s+|choice\s+)?"
"""What may stand before a label. `option` alone may also begin a remark on one of the others (`B. Option A melts later`)."""
_ASSERTION = (
    r"(?i:\b(?:answer|option|choice)(?:\s+is|\s+would\s+be|[\"']?\s*[:=]))[\"']?\s*[:=]?\s*(?i:option\s+|choice\s+)?"
)
_CHOOSING = r"(?i:\b(?:choose|pick|select|go\s+with)\s+(?:answer|option|choice)\s+)[(\[*]*"
_RIGHT = r"\s(?:is|seems)\s(?:the\s)?(?:correct|right|best|true|answer)\b"
_BOX = r"(?:\\f?boxed\s*\{|(?i:<answer>))\s*(?:\\(?:text|math)[a-z]{0,2}\s*\{\s*)?[(\[*]*"
"""What marks an answer: `\\boxed{`, `\\boxed{\\text{`, `<answer>`."""
_OPENS, _CLOSES = re.compile(r"(?:[{<>\"'“‘«「『【`$|]|\\\(\s?)$"), re.compile(r"[}<>\"'”’»」』】`$|]|\s?\\\)")
"""What stands on both sides of a label that is alone: quotes, tags, `$B$`."""
_IN_BRACES = re.compile(r"\{\d+$")
"""A digit of `x^{2}` or `\\frac{1}{2}`."""
_SAYS = re.compile(r"(?i:(?:the\s+)?(?:\w+\s+)?answer(?:\s+is)?\s*:?\s*)")
_DOLLAR = r"\$(?!\d+(?![\d$]))"
"""Of `$B$` and `$3$`, not of the amount `$3`."""
_WORD = re.compile(WORD_CHARACTER)
_LEFT_OUT = "□"
_OR = r"\s*(?:or|and|/|,)\s*"
_FILLER = (
    r"(?:(?:an?|the|any|about|as|to|be|is|it|this|that|of|look|looks|looking|like|seem|seems|sound|appear|appears|think|"
    r"believe|say|call|considered|really|very|actually|clearly|exactly|quite|necessarily|particularly|choose|pick|select|go|with|option|choice)\s+){0,4}"
)
_NEGATED = re.compile(
    rf"\b(?:(?:not|never|neither|nor|cannot|\w{{2,6}}n['’]t)\s+{_FILLER}|no\s+|non(?:-|\s+)|n/)\W{{0,2}}$",
    re.IGNORECASE,
)
"""What stands before a label that is ruled out: `not`, `isn't a`, `don't think it is`, `non-`, `N/` of `N/A`."""
_NEGATION_CHARACTERS = 60
"""Length of the text before a label in which a negation is looked for."""
_RULED_OUT = re.compile(r"\s+(?:is|was|would\s+be)(?:n['’]t\b|\s+(?:not|wrong|incorrect|false)\b)")
_BRACKET = r"\((?!\s?\d|[^()\n]*\)\s?(?!is\b)\w)"
"""Of `A (an ice cube)`, not of `A(n) ice cube` and `3 (three) planets`."""
_ALONE = (
    rf"\s*,(?:\s(?!\d)|$)|\s?(?:{_BRACKET}|(?:->|→|\|)(?!\s?\d))|\s[-–—/]\s(?!\d)|\s(?:because|since|as(?!\swell))\b"
)
"""What follows a label: an `A` before it is not an article, and a digit before it does not count anything."""
_IN_NUMBER = re.compile(r"(?:[-+*/=×÷^<>$€£]\s*|\d[.,])$")
"""What stands before a digit that belongs to a calculation or a longer number."""
_ESCAPED_SPACE = re.escape(" ")
_NOT_AFTER_DECIMAL = r"(?<!\d[.,])(?<!\d[.,]\d/)(?<!\d[.,]\d out of )"
"""The 5 of `4.5`, `4.5/5` and `4.5 out of 5` is no label."""
_NOT_BEFORE_DECIMALS = r"(?![.,](?!00?(?!\d))\d)"
"""The 4 of `4.5` is none either, but that of `4.0` is."""
_LEADING = rf"(?:[)\]*;!]|[.:](?!\d)|\s*$|(?={_ALONE}|{_RIGHT}))"
_LEADING_IN_OTHER_CASE = r"[)\]]|[.:](?!\w)"
_NAMING = re.compile(rf"[\"`”)*\]]*(?:$|[;!?]|[.:](?!\w)|{_ALONE}|\s(?:is|seems)\b)", re.MULTILINE)


class FoundLabel(NamedTuple):
    """`label` is None if the response names none or several. `reason` says which."""

    label: str | None
    reason: str


def find_label(response: str, labels: Sequence[str], texts: Sequence[str] = ()) -> FoundLabel:
    """The one label that the response settles on: `B`, `(B)`, `B.`, `B) text`, `The answer is B`, `答案是B`.

    The most explicit form decides: a bare label or text, then `\\boxed{B}`, then "the answer is" and "option B is right", then
    a label at the start of a line, then "option B" if no line or several begin with a label, then any mention that is not
    ruled out (`not B`), and only then the statement and the beginning of a line in the other case (`Answer: b`, `b) text`).
    Two different labels in the deciding form are ambiguous. `A`, `I` and digits are words in front of another word (`A ball`,
    `3 planets`), and labels where any letter would be (`A, because …`, `I think it is A.`). "The answer is" and what rules a
    label out are understood in English only.

    Args:
        texts: the options' texts, in the order of their labels. The `C` of an option `Vitamin C` is no label.
    """
    text = _collapse(response)
    by_form = {form: label for label in labels if (form := _collapse(label))}
    said = _SAYS.match(text)
    answers = (text, text[said.end() :]) if said else (text,)
    if texts and not any(_find_bare(answer, list(by_form)) for answer in answers):
        for answer in answers:
            if (same := find_same(answer, texts)) is not None:
                return FoundLabel(labels[texts.index(same)], "")
        text = _leave_out(text, texts, list(by_form))
    for find in (
        _find_bare,
        _find_boxed,
        _find_stated,
        _find_leading_or_remarked,
        _find_mentioned,
        _find_in_other_case,
    ):
        found = [by_form[form] for form in dict.fromkeys(find(text, list(by_form)))]
        if len(found) == 1:
            return FoundLabel(found[0], "")
        if found:
            return FoundLabel(None, f"ambiguous: names {', '.join(found)}")
    return FoundLabel(None, "no option found")


def label_at(index: int) -> str:
    """`A` to `Z` for 0 to 25, then numbers from 27."""
    return chr(ord("A") + index) if index < 26 else str(index + 1)


def find_closed_label(response: str, labels: Sequence[str]) -> FoundLabel:
    """The one label of a closed set that the response consists of, or else the only one that it names as whole words.

    A label that is ruled out in English is not named (`not spam`, `isn't spam`, `non-spam`), nor is one inside a longer
    label (`card` in `lost card`, also if this label is `lost_card`).
    """
    same = find_same(response, labels)
    named = [same] if same is not None else _find_named(normalize_text(response), labels)
    if len(named) == 1:
        return FoundLabel(named[0], "")
    return FoundLabel(None, f"ambiguous: names {', '.join(named)}" if named else "no option found")


def _collapse(text: str) -> str:
    """NFC, without full-width and invisible characters, and with each run of white space reduced to one space or line
    break, because long runs would slow the patterns down.
    """
    text = narrow(unicodedata.normalize("NFC", drop_invisible(text)))
    return "\n".join(" ".join(line.split()) for line in split_lines(text) if line.strip())


def _find_named(text: str, labels: Sequence[str]) -> list[str]:
    by_words = {words: label for label in labels if (words := split_words(label))}
    by_form = {form: label for label in labels if (form := normalize_text(label))}
    by_form = by_words | by_form if len(by_words) == len(by_form) else by_form
    one = "|".join(map(_as_whole_word, sorted(by_form, key=len, reverse=True)))
    named, end = set(), 0
    for match in re.finditer(rf"(?=({one}))", text):
        if match.end(1) > end:  # otherwise it is part of a longer label
            end = match.end(1)
            label = by_form[match[1]] if match[1] in by_form else by_words[split_words(match[1])]
            named |= set() if _is_negated(text, match.start()) else {label}
    return [label for label in labels if label in named]


def _as_whole_word(form: str) -> str:
    """A pattern for the form, however its words are separated, unless it is part of a longer word, which in a joining script
    cannot be told, or number (`4.5`).
    """
    before = "" if _joins(form[:1]) else rf"(?<!{WORD_CHARACTER})" + _NOT_AFTER_DECIMAL * form[:1].isdigit()
    after = "" if _joins(form[-1:]) else rf"(?!{WORD_CHARACTER})" + _NOT_BEFORE_DECIMALS * form[-1:].isdigit()
    return f"{before}{re.escape(form).replace(_ESCAPED_SPACE, '[ _-]+')}{after}"


def _joins(character: str) -> bool:
    return re.match(f"[{JOINING}]", character) is not None


def _is_negated(text: str, start: int) -> bool:
    return _NEGATED.search(text[max(0, start - _NEGATION_CHARACTERS) : start]) is not None


def _one_of(labels: Sequence[str], *, is_word: bool = False) -> str:
    """A pattern for any of the labels that is no part of a word such as `B's`; unless `is_word`, it may follow a letter.

    `B` may be attached to a script that joins words (`答案是B`), but a label of such a script may not: `가` is in many words.
    """
    patterns = []
    for label in sorted(labels, key=len, reverse=True):
        letter = r"\w" if _joins(label[:1]) else WORD_CHARACTER
        before = rf"(?<!{letter})(?<!\w['’])" if is_word else ""
        patterns.append(rf"{before}{re.escape(label)}(?!{letter}|['’]\w)")
    return f"(?P<label>{'|'.join(patterns)})"


def _find_bare(response: str, labels: Sequence[str]) -> list[str]:
    same = find_same(response, labels)
    return [] if same is None else [same]


def _leave_out(response: str, texts: Sequence[str], labels: Sequence[str]) -> str:
    """The response without the texts of options that name a label, such as `Vitamin C` and `both A and B`. Of one that begins
    with its own, as `B) ruler` does, the label stays.
    """
    one = re.compile(_one_of(labels, is_word=True))
    left: dict[str, str] = {}
    for label, form in zip(labels, map(_collapse, texts), strict=False):
        if len(form) > 2 and one.search(form):
            has_own = re.match(rf"[(\[]?{re.escape(label)}[)\].:]", form)
            left[form.casefold()] = label if has_own else _LEFT_OUT
    if not left:
        return response
    words = "|".join(map(re.escape, sorted(left, key=len, reverse=True)))

    def replace(match: re.Match[str]) -> str:
        """Boundaries are checked here, because their long lists of characters take long to compile for each row."""
        before, after = response[: match.start()][-1:], response[match.end() :][:1]
        is_part = (_WORD.match(before) and not _joins(match[0][:1])) or (
            _WORD.match(after) and not _joins(match[0][-1:])
        )
        return match[0] if is_part else left.get(match[0].casefold(), _LEFT_OUT)

    return re.sub(f"(?i:{words})", replace, response)


def _find_boxed(response: str, labels: Sequence[str]) -> list[str]:
    """Not the article of `\\boxed{A candle}`."""
    return [match["label"] for match in re.finditer(rf"{_BOX}{_one_of(labels)}(?!\s\w)", response)]


def _find_stated(response: str, labels: Sequence[str]) -> list[str]:
    one = _one_of(labels)
    asserted = rf"{_ASSERTION}(?:[\s*(\[`\"']|{_DOLLAR})*{one}(?!{_RULED_OUT.pattern})"
    affirmed = rf"{_STATEMENT}[\s*(\[`\"']*{one}[)\]*`\"']*{_RIGHT}"
    found = (_with_alternatives(form, response, one) for form in (asserted, affirmed, rf"{_CHOOSING}{one}"))
    return next(filter(None, found), [])


def _find_leading_or_remarked(response: str, labels: Sequence[str]) -> list[str]:
    """The label at the start of a line, unless several are listed there: a remark on an option says more than a list of all."""
    one = _one_of(labels)
    leading = _with_alternatives(rf"(?m)^[\s*(\[]*{one}{_LEADING}", response, one)
    if len(set(leading)) == 1:
        return leading
    remark = rf"{_STATEMENT}(?:[\s*(\[`\"']|{_DOLLAR})*{one}(?!{_RULED_OUT.pattern})"
    return _with_alternatives(remark, response, one) or leading


def _find_in_other_case(response: str, labels: Sequence[str]) -> list[str]:
    """Only where no word can be meant: `the answer is a cat`."""
    one, by_folded = _one_of(labels), {label.casefold(): label for label in labels}
    stated = rf"{_STATEMENT}[\s*(\[`\"']*{one}(?={_NAMING.pattern})"
    leading = rf"^[\s*(\[]*{one}(?:{_LEADING_IN_OTHER_CASE})"
    for pattern in (stated, leading):
        found = _with_alternatives(rf"(?im){pattern}", response, rf"(?i:{one})")
        if found:
            return [by_folded[label.casefold()] for label in found]
    return []


def _with_alternatives(pattern: str, response: str, one: str) -> list[str]:
    """The labels of all matches that are not ruled out before, and those joined to them by `or`, `and`, `/` or a comma."""
    joined = re.compile(rf"[)\]*`\"']*{_OR}[*(\[`\"']*{one}")
    found = []
    for match in re.finditer(pattern, response):
        line = response.rfind("\n", 0, match.start("label")) + 1
        if _is_negated(response[line:], match.start("label") - line):
            continue
        alternative = joined.match(response, match.end())
        found += [match["label"], alternative["label"]] if alternative else [match["label"]]
    return found


def _find_mentioned(response: str, labels: Sequence[str]) -> list[str]:
    one, found = _one_of(labels), []
    listed_before = re.compile(rf"{_one_of(labels, is_word=True)}[)\]*]?{_OR}[*(\[]?$")
    listed_after = re.compile(rf"[)\]*]?{_OR}[*(\[]?{one}")
    for match in re.finditer(_one_of(labels, is_word=True), response):
        before, after = response[max(0, match.start() - 20) : match.start()], response[match.end() :][:20]
        is_enclosed = _OPENS.search(before) and _CLOSES.match(after) and not _IN_BRACES.search(before + match["label"])
        bracketed = is_enclosed or before.endswith(("(", "[", "*")) or after.startswith((")", "]", "*"))
        wordlike = match["label"].isdigit() or (match["label"] in ("A", "I") and not _is_joined(before, after))
        in_number = match["label"].isdigit() and _IN_NUMBER.search(before)
        is_named = _NAMING.match(after) and not in_number
        marked = bracketed or listed_before.search(before) or listed_after.match(after) or is_named
        ruled_out = _is_negated(response, match.start()) or _RULED_OUT.match(after)
        if not ruled_out and (marked or not wordlike):
            found.append(match["label"])
    return found


def _is_joined(before: str, after: str) -> bool:
    """Whether there is a word of a joining script beside a label. `A` and `I` are then no English words."""
    return _joins(before.rstrip()[-1:]) or _joins(after.lstrip()[:1])
