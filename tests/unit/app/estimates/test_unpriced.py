"""An estimate says of which models it does not know the cost."""

from typing import Any

import pytest

from pada_agent.app.estimates.calls import Counts, estimate_run
from pada_agent.app.estimates.command import tell_unpriced
from pada_agent.core.config_files import parse_config

COUNTS = Counts(train=100, validation=60, test=40, tokens_per_row=50)
PAID: dict[str, Any] = {"model": "openai:m"}
PRICED = {**PAID, "usd_per_million_input_tokens": 1, "usd_per_million_output_tokens": 2}
HALF = {**PAID, "usd_per_million_input_tokens": 1}
BOTH = "(usd_per_million_input_tokens, usd_per_million_output_tokens)"
HERE = {**PAID, "base_url": "http://127.0.0.1:8000/v1"}


def tell(analyst: dict[str, Any], generator: dict[str, Any], judge: dict[str, Any], **values: Any) -> list[str]:
    models = {"analyst": analyst, "generator": generator, "judge": judge}
    config = parse_config({"models": models, **values}, origin="test")
    return tell_unpriced([config], [estimate_run(config, COUNTS)])


def test_models_that_may_cost_money_and_have_no_price_are_named() -> None:
    assert tell(PAID, {"model": "bedrock_converse:m"}, PRICED) == [
        f"No prices set for models.analyst {BOTH}, models.generator {BOTH}, so cost is not known."
    ]


def test_a_forgotten_price_is_named() -> None:
    assert tell(PRICED, HALF, PRICED) == [
        "No prices set for models.generator (usd_per_million_output_tokens), so cost is not known."
    ]


@pytest.mark.parametrize("free", [PRICED, HERE, {"model": "local:m"}, {"model": "own:m"}])
def test_nothing_is_said_of_models_with_a_price_or_on_this_machine(free: dict[str, Any]) -> None:
    assert tell(free, free, free) == []


def test_nothing_is_said_of_models_that_are_not_asked() -> None:
    assert tell(PAID, PAID, PAID, loop={"max_iterations": 0}) == []
