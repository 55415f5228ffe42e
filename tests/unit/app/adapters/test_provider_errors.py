"""When a server asks to wait."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from pada_agent.app.adapters.llm.provider_errors import read_retry_after


@pytest.mark.parametrize(("value", "seconds"), [("3", 3), ("0.5", 0.5), ("-4", 0), ("soon", None), ("", None)])
def test_retry_after_in_seconds(value: str, seconds: float | None) -> None:
    assert read_retry_after({"retry-after": value}) == seconds


def test_retry_after_as_a_date() -> None:
    later = datetime.now(UTC) + timedelta(seconds=30)
    wait = read_retry_after({"retry-after": format_datetime(later, usegmt=True)})
    assert wait is not None
    assert 25 < wait <= 30


def test_no_header_is_no_wish() -> None:
    assert read_retry_after({}) is None
