"""Keys are kept out of what is stored and shown, also where a server repeats them."""

import base64
import re
from dataclasses import dataclass, field
from functools import cached_property
from urllib.parse import quote

MASK = "[key]"
SHORTEST_SECRET = 6
"""Characters; a shorter one would be found in ordinary words."""
_LOOKS_LIKE_KEY = re.compile(r"\b(?:sk|pk|rk|gsk|xai|hf|ghp)[-_][\w*.-]{3,}|\bAIza[\w*-]{10,}")
"""Keys of the known providers, also cut or starred as servers repeat them."""


@dataclass(frozen=True)
class Redaction:
    """What must not be repeated."""

    secrets: tuple[str, ...] = field(default=(), repr=False)
    hides_words: bool = False
    """Whether a server's words stay out of errors altogether: whoever reads them may not be meant to see its answers."""

    def mask(self, text: str) -> str:
        """The text of an error, without the secrets and without what looks like a key."""
        return _LOOKS_LIKE_KEY.sub(MASK, self.mask_own(text))

    def mask_own(self, text: str) -> str:
        """The text without the secrets: as they are, in other case, in base64 or percent-encoded."""
        return self._pattern.sub(MASK, text) if self._pattern else text

    def is_in(self, text: str) -> bool:
        """Whether a secret is repeated in the text."""
        return bool(self._pattern and self._pattern.search(text))

    @cached_property
    def _pattern(self) -> re.Pattern[str] | None:
        forms = [form for secret in self.secrets if len(secret) >= SHORTEST_SECRET for form in _forms(secret)]
        return re.compile("|".join(map(re.escape, forms)), re.IGNORECASE) if forms else None


def _forms(secret: str) -> tuple[str, ...]:
    encoded = base64.b64encode(secret.encode()).decode().rstrip("=")
    return (secret, encoded, encoded.replace("+", "-").replace("/", "_"), quote(secret, safe=""))
