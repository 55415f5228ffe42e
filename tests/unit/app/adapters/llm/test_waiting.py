"""How long a server asks to wait."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from pada_agent.app.adapters.llm.waiting import read_quota_reset, read_retry_after, read_wait_in_words


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "3"}, 3),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "0"}, 0),
        ({"retry-after": "-4"}, 0),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": ""}, None),
        ({}, None),
        ({"retry-after": "1m30s"}, 90),
        ({"retry-after": "2 seconds"}, 2),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"x-ratelimit-reset-requests": "120ms"}, None),
    ],
)
def test_the_wait_in_headers(headers: dict[str, str], seconds: float | None) -> None:
    assert read_retry_after(headers) == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"x-ratelimit-reset-requests": "1.5s", "x-ratelimit-reset-tokens": "6m0s"}, 360),
        ({"x-ratelimit-reset-requests": "120ms"}, 0.12),
        ({"x-ratelimit-reset-tokens": "soon"}, None),
        ({}, None),
    ],
)
def test_when_a_quota_is_full_again(headers: dict[str, str], seconds: float | None) -> None:
    assert read_quota_reset(headers) == (None if seconds is None else pytest.approx(seconds))


def test_the_wait_as_a_date() -> None:
    later = datetime.now(UTC) + timedelta(seconds=30)
    wait = read_retry_after({"retry-after": format_datetime(later, usegmt=True)})
    assert wait is not None
    assert 25 < wait <= 30


@pytest.mark.parametrize(
    ("words", "seconds"),
    [
        ("Limit 6000, Used 5900, Requested 200. Please try again in 1.02s. Need more tokens?", 1.02),
        ("Please try again in 9m38.016s.", 578.016),
        ("Please retry in 34.07s.", 34.07),
        ("{'@type': 'RetryInfo', 'retryDelay': '17s'}", 17),
        ("Too many requests. Try again in 20 seconds", 20),
        ("wait a moment", None),
        ("Rate limit of 5 requests", None),
    ],
)
def test_the_wait_in_words(words: str, seconds: float | None) -> None:
    assert read_wait_in_words(words) == (None if seconds is None else pytest.approx(seconds))
