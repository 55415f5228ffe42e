"""One short question to each role, with its parameters."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from pada_agent.app.runs.probing import Probe, probe_roles, tell_silent
from pada_agent.core.chat import ChatRequest
from pada_agent.core.config_files import parse_config
from pada_agent.core.errors import ArtifactError, BudgetExceededError, ModelUnavailableError
from pada_agent.evaluation.rows.findings import stop, warn
from pada_agent.prompts.prompted_model import PromptedModel
from tests.fakes import ScriptedModel

Answer = Callable[[ChatRequest], str]


def say_ready(_: ChatRequest) -> str:
    return '{"ready": true}'


def refuse(_: ChatRequest) -> str:
    raise ModelUnavailableError("openai:toy: the key was refused (HTTP 401)")


def probe(answer: Answer = say_ready, **roles: dict[str, Any]) -> tuple[list[Probe], list[ScriptedModel]]:
    toy = {"model": "openai:toy"}
    models = {"analyst": toy, "generator": toy, "judge": toy, **roles}
    config = parse_config({"models": models, "generation": {"temperature": 0.7}}, origin="test")
    made = [ScriptedModel(answer) for _ in models]
    prompted = [PromptedModel(model, {}, 64 + i) for i, model in enumerate(made)]
    adapters: Any = SimpleNamespace(analyst=prompted[0], generator=prompted[1], judge=prompted[2])
    return list(probe_roles(config, adapters, say=lambda _: None)), made


def test_each_role_is_asked_once_with_the_parameters_of_a_run() -> None:
    probes, models = probe()
    assert [(p.role, p.problem, p.stops) for p in probes] == [
        (role, "", False) for role in ("analyst", "generator", "judge")
    ]
    requests = [request for model in models for request in model.requests]
    assert [(r.temperature, r.max_output_tokens) for r in requests] == [(0.0, 64), (0.7, 65), (0.0, 66)]
    assert all(request.json_schema for request in requests), "a server that takes no schema is found out"
    assert tell_silent(probes) == []


def test_a_model_that_cannot_be_used_is_asked_once_and_told_once() -> None:
    probes, models = probe(refuse)
    assert [len(model.requests) for model in models] == [1, 0, 0]
    assert tell_silent(probes) == [
        stop("models.analyst, models.generator, models.judge: openai:toy: the key was refused (HTTP 401)", "settings")
    ]


def test_an_answer_out_of_form_is_a_warning() -> None:
    probes, _ = probe(lambda _: "Yes!", judge={"model": "openai:other"})
    (found,) = tell_silent(probes)
    assert not found.stops and found == warn(found.text)
    assert found.text.startswith(
        "models.analyst, models.generator, models.judge: it answered a test question, but not in"
    )


def test_no_model_is_loaded_for_it() -> None:
    probes, models = probe(refuse, analyst={"model": "local:x"}, generator={"model": "own:y"})
    assert [(p.model, p.seconds, p.is_local) for p in probes[:2]] == [("local:x", None, True), ("own:y", None, False)]
    assert [len(model.requests) for model in models] == [0, 0, 1]


def test_a_batch_that_takes_a_day_is_not_waited_for() -> None:
    probes, models = probe(judge={"model": "openai:toy", "economy": "batch"})
    assert [p.seconds is None for p in probes] == [False, False, True]
    assert [len(model.requests) for model in models] == [1, 1, 0]


def test_a_spent_budget_is_no_problem_of_the_model() -> None:
    def spend(_: ChatRequest) -> str:
        raise BudgetExceededError("budget.max_calls is used up")

    with pytest.raises(BudgetExceededError):
        probe(spend)


def test_an_answer_that_cannot_be_stored_is_not_blamed_on_the_model() -> None:
    def fill(_: ChatRequest) -> str:
        raise ArtifactError("llm_calls.sqlite: the disk is full")

    with pytest.raises(ArtifactError, match="the disk is full"):
        probe(fill)
