"""Keeps keys out of everything stored and shown, even if a server repeats them."""

import base64
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from urllib.parse import quote

MASK = "[key]"
SHORTEST_SECRET = 6
"""In characters. A shorter one would be found in ordinary words."""
SHORTEST_SPLIT = 12
"""In characters. A shorter one is not searched for across spaces and quotation marks."""
SHORTEST_RANDOM = 12
"""In characters. A shorter secret is not masked in answers."""
_BETWEEN = r"[\s\"'`+,\\]{0,6}"
"""What may stand between the pieces of a key that was broken up, such as a line's end or `" + "`."""
_NOT_IN_WORDS = re.compile(r"[^A-Za-z\s_.-]")
"""A character that placeholders such as `ollama` or `not-needed` do not contain."""
_LOOKS_LIKE_KEY = re.compile(r"\b(?:sk|pk|rk|gsk|xai|hf|ghp)[-_][\w*.-]{3,}|\bAIza[\w*-]{10,}")
"""Keys of the known providers, also cut or starred as servers repeat them."""


@dataclass(frozen=True)
class Redaction:
    """What must not be repeated."""

    secrets: tuple[str, ...] = field(default=(), repr=False)
    hides_words: bool = False
    """Whether a server's words never appear in errors, because the readers may not be meant to see its answers."""

    def mask(self, text: str) -> str:
        """The text of an error, without the secrets and without anything that looks like a key."""
        return _LOOKS_LIKE_KEY.sub(MASK, self.mask_own(text))

    def mask_own(self, text: str) -> str:
        """The text without the secrets: unchanged, in other case, in pieces, in base64, or percent-encoded."""
        return self._pattern.sub(MASK, text) if self._pattern else text

    def mask_answer(self, text: str) -> str:
        """The text of an answer, without the secrets that look random. Others, such as `anything`, are placeholders, and words of
        ordinary text."""
        return self._random.mask_own(text)

    def is_in(self, text: str) -> bool:
        """Whether the text repeats a secret."""
        return bool(self._pattern and self._pattern.search(text))

    @cached_property
    def _random(self) -> "Redaction":
        """The same for the secrets that do not occur in ordinary text."""
        return Redaction(tuple(s for s in self.secrets if len(s) >= SHORTEST_RANDOM and _NOT_IN_WORDS.search(s)))

    @cached_property
    def _pattern(self) -> re.Pattern[str] | None:
        forms = [form for secret in self.secrets if len(secret) >= SHORTEST_SECRET for form in _forms(secret)]
        return re.compile("|".join(dict.fromkeys(forms)), re.IGNORECASE) if forms else None


def _forms(secret: str) -> Iterator[str]:
    """Patterns for every form of the secret."""
    between = _BETWEEN if len(secret) >= SHORTEST_SPLIT else ""
    yield between.join(map(re.escape, secret))
    for form in (json.dumps(secret)[1:-1], quote(secret, safe=""), *_base64_forms(secret.encode())):
        yield re.escape(form)


def _base64_forms(secret: bytes) -> Iterator[str]:
    """The secret as it reads within base64, wherever it begins there, because `user:secret` is encoded as a whole."""
    for n_before, n_shared in ((0, 0), (1, 2), (2, 3)):
        whole = base64.b64encode(b"\0" * n_before + secret).decode()
        n_padded = (n_before + len(secret)) % 3
        inner = whole[n_shared : len(whole) - (4 if n_padded else 0)]
        yield inner
        yield inner.replace("+", "-").replace("/", "_")
