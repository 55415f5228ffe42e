"""The program that a response stands for, run in the sandbox."""

from typing import Any

import pytest

from pada_agent.evaluation.sandbox import run_program
from pada_agent.evaluation.verifiers.python_code import complete_program
from tests.unit.evaluation.cases import load

CODE = load("code_responses")


@pytest.mark.parametrize("case", CODE["cases"], ids=lambda c: c["name"])
def test_a_response_becomes_the_program_it_stands_for(case: dict[str, Any]) -> None:
    program = complete_program(CODE["prompt"], case["response"], CODE["entry_point"])
    assert run_program(f"{program}\nassert double(3) == 6").ok == case["passes"]
