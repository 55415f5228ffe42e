"""Figures in words."""

import pytest

from pada_agent.app.text import dollars, word_cost


@pytest.mark.parametrize(
    ("usd", "words"),
    [(0, "$0.00"), (0.0001, "less than $0.01"), (0.0049, "less than $0.01"), (0.01, "$0.01"), (1234.5, "$1,234.50")],
)
def test_a_small_amount_is_not_shown_as_nothing(usd: float, words: str) -> None:
    assert dollars(usd) == words


@pytest.mark.parametrize(
    ("usd", "unpriced", "words"),
    [
        (0, (), "$0.00"),
        (0, ("judge",), "not known"),
        (0.001, ("judge",), "not known"),
        (1.5, ("judge",), "at least $1.50"),
    ],
)
def test_a_missing_price_is_not_shown_as_no_cost(usd: float, unpriced: tuple[str, ...], words: str) -> None:
    assert word_cost(usd, unpriced) == words
