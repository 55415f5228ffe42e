"""How long a server asks to wait."""

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_UNIT = r"(?:ms|milliseconds?|hours?|hrs?|h|minutes?|mins?|m|seconds?|secs?|s)"
_PART = re.compile(rf"(\d+(?:\.\d+)?)\s*({_UNIT})(?![a-z])", re.IGNORECASE)
_SECONDS = {"ms": 0.001, "mil": 0.001, "h": 3600.0, "m": 60.0, "s": 1.0}
_IN_WORDS = re.compile(
    rf"(?:try again|retry|wait)[^.\d]{{0,30}}?\s((?:\d+(?:\.\d+)?\s*{_UNIT}\s*){{1,3}})"
    r"|retryDelay['\"]?\s*[:=]\s*['\"]?(\d+(?:\.\d+)?s)",
    re.IGNORECASE,
)


def read_retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the headers ask to wait. None if they do not say. Understands numbers, HTTP dates and `1m30s`."""
    milliseconds = _read_number(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("retry-after", "")
    for read in (_read_number, read_duration, _read_date):
        if (seconds := read(value)) is not None:
            return seconds
    return None


def read_quota_reset(headers: Mapping[str, str]) -> float | None:
    """Seconds until the quotas of requests and tokens are full again. None if the headers do not say.

    A request fits in long before. The quota may be that of a day.
    """
    resets = [read_duration(headers.get(f"x-ratelimit-reset-{what}", "")) for what in ("requests", "tokens")]
    return max((seconds for seconds in resets if seconds is not None), default=None)


def read_wait_in_words(words: str) -> float | None:
    """Seconds in messages such as "Please try again in 9m38.016s". None if there are none."""
    found = _IN_WORDS.search(words)
    return read_duration(found[1] or found[2]) if found else None


def read_duration(text: str) -> float | None:
    """Seconds in `1m30s`, `2 seconds` or `500ms`."""
    parts = _PART.findall(text)
    if not parts or _PART.sub("", text).strip(" ,"):
        return None
    return sum(float(amount) * _unit_seconds(unit.lower()) for amount, unit in parts)


def _unit_seconds(unit: str) -> float:
    return next(seconds for prefix, seconds in _SECONDS.items() if unit.startswith(prefix))


def _read_number(value: str) -> float | None:
    try:
        seconds = float(value)
    except ValueError:
        return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _read_date(value: str) -> float | None:
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None
