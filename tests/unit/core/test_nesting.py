"""JSON that is nested too deeply."""

import json

import pytest

from pada_agent.core.nesting import MAX_LEVELS, check_nesting


def nest(levels: int) -> str:
    return "[" * levels + "1" + "]" * levels


def test_as_many_levels_as_allowed_are_read_and_one_more_is_refused() -> None:
    for text in (nest(MAX_LEVELS), f"[{nest(3)}" + ", {}" * 200 + "]"):
        check_nesting(json.loads(text), text)
    for text in (nest(MAX_LEVELS + 1), f'{{"a": {nest(MAX_LEVELS)}}}'):
        with pytest.raises(RecursionError):
            check_nesting(json.loads(text), text)
