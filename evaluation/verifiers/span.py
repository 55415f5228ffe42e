"""Exact match and token F1 as in the official SQuAD v1.1 evaluation (Rajpurkar et al., 2016)."""

import re
import string
from collections import Counter
from collections.abc import Sequence

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize_span(text: str) -> str:
    """Lower case; no ASCII punctuation, no articles; white space collapsed."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_WITHOUT_PUNCTUATION)).split())


def exact_match(response: str, golds: Sequence[str]) -> bool:
    return any(normalize_span(response) == normalize_span(gold) for gold in golds)


def token_f1(response: str, golds: Sequence[str]) -> float:
    """The best F1 over the accepted answers; 0 where no token is shared, even between two empty texts."""
    return max((_f1(response, gold) for gold in golds), default=0.0)


def _f1(response: str, gold: str) -> float:
    found, wanted = normalize_span(response).split(), normalize_span(gold).split()
    shared = sum((Counter(found) & Counter(wanted)).values())
    return 2 * shared / (len(found) + len(wanted)) if shared else 0.0


def find_span(answer: str, passage: str) -> str | None:
    """The passage's own words for the answer, case aside, as whole words; runs of white space count as one."""
    wanted = " ".join(answer.split())
    found = re.search(rf"(?<!\w){re.escape(wanted)}(?!\w)", " ".join(passage.split()), re.IGNORECASE)
    return found.group() if wanted and found else None
