"""Finds the option label that a response settles on."""

import re
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

from pada_agent.core.lines import split_lines
from pada_agent.evaluation.verifiers.text import normalize_text

_STATEMENT = r"(?i:\b(?:answer|option|choice)(?:\s+is|\s+would\s+be)?)\s*[:=]?\s*(?i:option\s+|choice\s+)?"
_OR = r"\s*(?:or|and|/|,)\s*"
_FILLER = (
    r"(?:(?:an?|the|any|about|as|to|be|is|it|this|that|of|look|looks|looking|like|seem|seems|sound|appear|appears|think|"
    r"believe|say|call|considered|really|very|actually|clearly|exactly|quite|necessarily|particularly|option|choice)\s+){0,4}"
)
_NEGATED = re.compile(
    rf"\b(?:(?:not|never|neither|nor|cannot|\w{{2,6}}n['’]t)\s+{_FILLER}|no\s+|non(?:-|\s+)|n/)\W{{0,2}}$",
    re.IGNORECASE,
)
"""What stands before a label that is ruled out: `not`, `isn't a`, `don't think it is`, `non-`, `N/` of `N/A`."""
_NEGATION_CHARACTERS = 60
"""Length of the text before a label in which a negation is looked for."""
_RULED_OUT = re.compile(r"\s+(?:is|was|would\s+be)(?:n['’]t\b|\s+(?:not|wrong|incorrect|false)\b)")
_ALONE = r"\s*,\s(?!\d)|\s[-–—/]\s(?!\d)|\s(?:because|since|as(?!\swell))\b"
"""What follows a label: an `A` before it is not an article, and a digit before it does not count anything."""
_IN_NUMBER = re.compile(r"(?:[-+*/=×÷^<>$€£]\s*|\d[.,])$")
"""What stands before a digit that belongs to a calculation or a longer number."""
_LEADING = rf"(?:[)\]*;!]|[.:](?!\d)|\s*$|(?={_ALONE}|\s(?:is|seems)\s(?:the\s)?(?:correct|right|best|true|answer)\b))"
_NAMING = re.compile(rf"[\"`”)*\]]*(?:$|[;!?]|[.:](?!\w)|{_ALONE}|\s(?:is|seems)\b)", re.MULTILINE)


class FoundLabel(NamedTuple):
    """`label` is None if the response names none or several. `reason` says which."""

    label: str | None
    reason: str


def find_label(response: str, labels: Sequence[str]) -> FoundLabel:
    """The one label that the response settles on: `B`, `(B)`, `B.`, `B) text`, `The answer is B`.

    The most explicit form decides: a bare label, then "the answer is", then labels at the start of a line, then any
    mention that is not ruled out (`not B`). Two different labels in the deciding form are ambiguous. `A`, `I` and digits
    are words in front of another word (`A ball`, `3 planets`), and labels where any letter would be (`A, because …`,
    `I think it is A.`).
    """
    text = _collapse(response)
    for find in (_find_bare, _find_stated, _find_leading, _find_mentioned):
        found = list(dict.fromkeys(find(text, labels)))
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

    A label that is ruled out is not named: `not spam`, `isn't spam`, `non-spam`.
    """
    text = normalize_text(response).strip("\"'`*.:()[] ")
    exact = [label for label in labels if normalize_text(label) == text]
    if exact:
        return FoundLabel(exact[0], "")
    named = _drop_contained([label for label in labels if _names(text, label)], text)
    if len(named) == 1:
        return FoundLabel(named[0], "")
    return FoundLabel(None, f"ambiguous: names {', '.join(named)}" if named else "no option found")


def _collapse(text: str) -> str:
    """NFC, with each run of white space reduced to one space or line break, because long runs would slow the patterns down."""
    text = unicodedata.normalize("NFC", text)
    return "\n".join(" ".join(line.split()) for line in split_lines(text) if line.strip())


def _names(text: str, label: str) -> bool:
    found = re.finditer(rf"(?<!\w){re.escape(normalize_text(label))}(?!\w)", text)
    return any(not _is_negated(text, match.start()) for match in found)


def _is_negated(text: str, start: int) -> bool:
    return _NEGATED.search(text[max(0, start - _NEGATION_CHARACTERS) : start]) is not None


def _drop_contained(named: list[str], text: str) -> list[str]:
    """Drop labels that occur only inside a longer one (`card` in `lost card`)."""
    kept = []
    for label in named:
        rest = text
        for longer in sorted(named, key=len, reverse=True):
            if longer != label and _names(normalize_text(longer), label):
                rest = rest.replace(normalize_text(longer), " ")
        if _names(rest, label):
            kept.append(label)
    return kept


def _one_of(labels: Sequence[str]) -> str:
    return "(?P<label>" + "|".join(re.escape(label) for label in sorted(labels, key=len, reverse=True)) + ")"


def _find_bare(response: str, labels: Sequence[str]) -> list[str]:
    by_folded = {label.casefold(): label for label in labels}
    bare = response.lstrip(" *([`\"'").rstrip(" *)]`\"'.:").casefold()
    return [by_folded[bare]] if bare in by_folded else []


def _find_stated(response: str, labels: Sequence[str]) -> list[str]:
    one = _one_of(labels)
    return _with_alternatives(rf"{_STATEMENT}[\s*(\[`\"']*{one}(?![\w'])", response, one)


def _find_leading(response: str, labels: Sequence[str]) -> list[str]:
    one = _one_of(labels)
    return _with_alternatives(rf"(?m)^[\s*(\[]*{one}{_LEADING}", response, one)


def _with_alternatives(pattern: str, response: str, one: str) -> list[str]:
    """The labels of all matches, and those joined to them by `or`, `and`, `/` or a comma."""
    joined = re.compile(rf"[)\]*`\"']*{_OR}[*(\[`\"']*{one}(?![\w'])")
    found = []
    for match in re.finditer(pattern, response):
        alternative = joined.match(response, match.end())
        found += [match["label"], alternative["label"]] if alternative else [match["label"]]
    return found


def _find_mentioned(response: str, labels: Sequence[str]) -> list[str]:
    one, found = _one_of(labels), []
    listed_before = re.compile(rf"(?<![\w']){one}[)\]*]?{_OR}[*(\[]?$")
    listed_after = re.compile(rf"[)\]*]?{_OR}[*(\[]?{one}(?![\w'])")
    for match in re.finditer(rf"(?<![\w']){one}(?![\w'])", response):
        before, after = response[max(0, match.start() - 20) : match.start()], response[match.end() :][:20]
        bracketed = before.endswith(("(", "[", "*")) or after.startswith((")", "]", "*"))
        wordlike = match["label"] in ("A", "I") or match["label"].isdigit()
        in_number = match["label"].isdigit() and _IN_NUMBER.search(before)
        is_named = _NAMING.match(after) and not in_number
        marked = bracketed or listed_before.search(before) or listed_after.match(after) or is_named
        ruled_out = _is_negated(response, match.start()) or _RULED_OUT.match(after)
        if not ruled_out and (marked or not wordlike):
            found.append(match["label"])
    return found
