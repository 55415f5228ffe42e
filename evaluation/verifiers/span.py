"""Exact match and token F1 as in the official evaluations of SQuAD 1.1 (arXiv 1606.05250) and 2.0 (arXiv 1806.03822)."""

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Sequence

from pada_agent.evaluation.rows.cells import INVISIBLE
from pada_agent.evaluation.verifiers.number import DecimalMark, parse_number
from pada_agent.evaluation.verifiers.text import JOINING, drop_invisible, normalize_text

_LETTER = rf"(?![{JOINING}])[^\W\d]"
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)
_AROUND = "\"'`. "
"""What may stand around an answer of signs."""


def normalize_span(text: str) -> str:
    """Lower case, without ASCII punctuation and articles, white space collapsed. Also NFC and without invisible
    characters, which the official script leaves to the data.
    """
    text = unicodedata.normalize("NFC", drop_invisible(text))
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_WITHOUT_PUNCTUATION)).split())


def exact_match(response: str, golds: Sequence[str]) -> bool:
    return any(normalize_span(response) == normalize_span(gold) for gold in golds)


def matches(response: str, golds: Sequence[str]) -> bool:
    """Like `exact_match`, but not where only punctuation and articles tell the answers apart: `1.5` is not 15, `-5` is not 5, and an
    answer `A` is neither `the` nor nothing.
    """
    return any(exact_match(response, [gold]) and not _differ(response, gold) for gold in golds)


def _differ(response: str, gold: str) -> bool:
    """Whether two answers that normalize to the same say something else."""
    if not normalize_span(gold):
        return normalize_text(response).strip(_AROUND) != normalize_text(gold).strip(_AROUND)
    marks: tuple[DecimalMark, ...] = (".", ",")
    read = [(parse_number(response, mark), parse_number(gold, mark)) for mark in marks]
    values = [(one.value, other.value) for one, other in read if one is not None and other is not None]
    return bool(values) and all(one != other for one, other in values)


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
    """The passage's own characters for the answer, ignoring case and invisible characters. A run of white space counts as
    one space.

    As in SQuAD, a span may begin and end inside a word: `10` is in `10km`, and a Korean noun in its form with a particle.

    Args:
        whole_words: whether `Rome` is refused in `Romeo`, and `10` in `2010`: a span may then not begin or end between
            two digits, or between two letters, except in scripts where words are written without spaces or attached to
            one another (Chinese, Japanese, Korean, Thai, Lao, Burmese, Khmer, Arabic, Hebrew).
    """
    wanted, within = (" ".join(unicodedata.normalize("NFC", t).split()) for t in (drop_invisible(answer), passage))
    if not wanted:
        return None
    before, after = (f"(?<!{_kin(wanted[0])})", f"(?!{_kin(wanted[-1])})") if whole_words else ("", "")
    found = re.search(f"{before}{re.escape(wanted)}{after}", drop_invisible(within), re.IGNORECASE)
    if found is None:
        return None
    visible = [place for place, character in enumerate(within) if character not in INVISIBLE]
    return within[visible[found.start()] : visible[found.end() - 1] + 1]


def _kin(character: str) -> str:
    """A pattern for the neighbors that belong to the same number or word as this character. It may match nothing."""
    if character.isdecimal():
        return r"\d"
    is_letter = unicodedata.category(character)[0] in "LM" and not re.match(f"[{JOINING}]", character)
    return _LETTER if is_letter else r"[^\s\S]"
