"""Exact match and token F1 as in the official evaluations of SQuAD 1.1 (arXiv 1606.05250) and 2.0 (arXiv 1806.03822)."""

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Sequence

from pada_agent.evaluation.rows.cells import INVISIBLE
from pada_agent.evaluation.verifiers.number import DecimalMark, parse_digits, parse_number
from pada_agent.evaluation.verifiers.text import JOINING, TYPOGRAPHY, drop_invisible, normalize_text, write_plainly

_PLAIN = {**TYPOGRAPHY, **dict.fromkeys(INVISIBLE, "")}
_LETTER = rf"(?![{JOINING}])[^\W\d]"
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)
_AROUND = "\"'`. "
"""What may stand around an answer of signs."""
_DIGITS = re.compile(r"(?:(?<![\w.)\]}%])-(?=\.?\d))?(?:(?<!\w)\.)?\d+(?:[^\w\s]+\d+)*")
"""Digits with the marks between them, and their sign: `1.5`, `5-6`, `1:30`, `-5`."""
_CLOCK = re.compile(r"\d{1,2}:\d\d")
"""A time of day, which may be written without the colon."""
_N_DIGITS_OF_ID = 7
"""So many digits are a phone number or the like, whose marks are left out at will."""
_GROUPING = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
"""The comma of `50-1,000`."""
_PLAIN_NUMBER = re.compile(r"[\d.,'_]+")
_SIGNS = re.compile(r"(?<=[^\W\d_])[+#]+|\b[A-Z][A-Za-z]?(-)(?!\w)")
"""Signs that make another name: `C++`, `C#`, `Na+`, `O-`."""
_NAMED_A = re.compile(r"\S\s+A\b(?!\.\s+\w)|\S\s+[Aa]\W*\Z")
"""An `A` that is no article: `vitamin A`. Initials (`Robert A. Heinlein`) may be left out."""
_A = re.compile(r"\ba\b", re.IGNORECASE)


def normalize_span(text: str) -> str:
    """Lower case, without ASCII punctuation and articles, white space collapsed. Also NFC and without invisible
    characters, which the official script leaves to the data.
    """
    text = unicodedata.normalize("NFC", drop_invisible(text))
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_WITHOUT_PUNCTUATION)).split())


def exact_match(response: str, golds: Sequence[str]) -> bool:
    return any(normalize_span(response) == normalize_span(gold) for gold in golds)


def matches(response: str, golds: Sequence[str]) -> bool:
    """Like `exact_match`, but typographic signs count as those of a keyboard, and answers differ where punctuation or articles
    are all that tells them apart: `1.5` is not 15, `about -5` not `about 5`, `5-6` not 56, `C++` not `C`, `vitamin A` not
    `vitamin`, and an answer `A` is neither `the` nor nothing.
    """
    pairs = ((write_plainly(response), write_plainly(gold)) for gold in golds)
    return any(exact_match(one, [other]) and not _differ(one, other) for one, other in pairs)


def _differ(response: str, gold: str) -> bool:
    """Whether two answers that normalize to the same say something else."""
    if not normalize_span(gold):
        return normalize_text(response).strip(_AROUND) != normalize_text(gold).strip(_AROUND)
    if [match[0][-1] for match in _SIGNS.finditer(response)] != [match[0][-1] for match in _SIGNS.finditer(gold)]:
        return True
    if (_NAMED_A.search(response) or _NAMED_A.search(gold)) and len(_A.findall(response)) != len(_A.findall(gold)):
        return True
    ours, theirs = _DIGITS.findall(response), _DIGITS.findall(gold)
    return _are_other_numbers(response, gold) or len(ours) != len(theirs) or any(map(_are_other_digits, ours, theirs))


def _are_other_numbers(one: str, other: str) -> bool:
    """Whether both texts are numbers, and not the same under either decimal mark."""
    marks: tuple[DecimalMark, ...] = (".", ",")
    read = [(parse_number(one, mark), parse_number(other, mark)) for mark in marks]
    values = [(ours.value, theirs.value) for ours, theirs in read if ours is not None and theirs is not None]
    return bool(values) and all(ours != theirs for ours, theirs in values)


def _are_other_digits(one: str, other: str) -> bool:
    """Whether two runs of digits with their marks are different numbers, ranges, times or versions."""
    if one.startswith("-") != other.startswith("-"):
        return True
    one, other = one.removeprefix("-"), other.removeprefix("-")
    marks: tuple[DecimalMark, ...] = (".", ",")
    is_plain = _PLAIN_NUMBER.fullmatch(one) and _PLAIN_NUMBER.fullmatch(other)
    read = [(parse_digits(one, mark), parse_digits(other, mark)) for mark in marks if is_plain]
    values = [(ours, theirs) for ours, theirs in read if ours is not None and theirs is not None]
    if values:
        return all(ours != theirs for ours, theirs in values)
    if _CLOCK.fullmatch(one) or _CLOCK.fullmatch(other):
        return False
    groups, of_other = (re.findall(r"\d+", _GROUPING.sub("", digits)) for digits in (one, other))
    return groups != of_other and sum(map(len, groups)) < _N_DIGITS_OF_ID


def token_f1(response: str, golds: Sequence[str]) -> float:
    """The best F1 over the accepted answers, in [0, 1]. 0 if no token is shared, even between two empty texts."""
    return max((_f1(response, gold) for gold in golds), default=0.0)


def keep_answerable(golds: Sequence[str]) -> list[str]:
    """The accepted answers as SQuAD 2.0 counts them: without those that are all articles and punctuation. `[""]` if none remains."""
    return [gold for gold in golds if normalize_span(gold)] or [""]


def token_f1_or_none(response: str, golds: Sequence[str]) -> float:
    """Like `token_f1`, but 1 if both are empty, which means correctly saying that there is no answer (SQuAD 2.0)."""
    if not normalize_span(response):
        return float(any(not normalize_span(gold) for gold in golds))
    return token_f1(response, golds)


def _f1(response: str, gold: str) -> float:
    found, wanted = normalize_span(response).split(), normalize_span(gold).split()
    shared = sum((Counter(found) & Counter(wanted)).values())
    return 2 * shared / (len(found) + len(wanted)) if shared else 0.0


def find_span(answer: str, passage: str, *, whole_words: bool = True) -> str | None:
    """The passage's own characters for the answer, ignoring case, invisible characters and typography. A run of white space
    counts as one space.

    As in SQuAD, a span may begin and end inside a word: `10` is in `10km`, and a Korean noun in its form with a particle.

    Args:
        whole_words: whether `Rome` is refused in `Romeo`, and `10` in `2010`: a span may then not begin or end between
            two digits, or between two letters, except in scripts where words are written without spaces or attached to
            one another (Chinese, Japanese, Korean, Thai, Lao, Burmese, Khmer, Arabic, Hebrew).
    """
    wanted, within = (
        " ".join(unicodedata.normalize("NFC", text).split()) for text in (drop_invisible(answer), passage)
    )
    wanted = write_plainly(wanted)
    if not wanted:
        return None
    before, after = (f"(?<!{_kin(wanted[0])})", f"(?!{_kin(wanted[-1])})") if whole_words else ("", "")
    written = within if within.isascii() else [_PLAIN.get(character, character) for character in within]
    found = re.search(f"{before}{re.escape(wanted)}{after}", "".join(written), re.IGNORECASE)
    if found is None:
        return None
    places = [place for place, characters in enumerate(written) for _ in characters]
    return within[places[found.start()] : places[found.end() - 1] + 1]


def _kin(character: str) -> str:
    """A pattern for the neighbors that belong to the same number or word as this character. It may match nothing."""
    if character.isdecimal():
        return r"\d"
    is_letter = unicodedata.category(character)[0] in "LM" and not re.match(f"[{JOINING}]", character)
    return _LETTER if is_letter else r"[^\s\S]"
