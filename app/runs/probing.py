"""Asks each LLM role one short question, with the same parameters as in a run."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from pydantic import BaseModel, Field

from pada_agent.app.prerequisites import get_model, list_roles
from pada_agent.core.chat import Role
from pada_agent.core.concurrency import map_concurrently
from pada_agent.core.config import RunConfig
from pada_agent.core.errors import AgentError, BudgetExceededError, StructuredOutputError
from pada_agent.evaluation.rows.findings import Finding, stop, warn
from pada_agent.graph.adapters import Adapters
from pada_agent.prompts.prompted_model import PromptedModel
from pada_agent.prompts.structured_call import structured_call

NOT_ASKED = ("local", "own")
"""Providers without a server: the embedded engine would have to load its model first, and what an application brings is its own responsibility."""

QUESTION = "This is a test of the connection. Say that you are ready."


class Probe(NamedTuple):
    """One call to a role."""

    role: Role
    model: str
    seconds: float | None
    """Duration of the call. None if it was not asked."""
    problem: str = ""
    """What went wrong. Empty if it answered in the requested form."""
    stops: bool = False
    """Whether it cannot be used at all."""

    @property
    def is_local(self) -> bool:
        """Whether it runs in the embedded engine."""
        return self.model.startswith("local:")


class Readiness(BaseModel, extra="ignore"):
    """The answer that a probe asks for."""

    ready: bool = Field(description="true")


def probe_roles(config: RunConfig, adapters: Adapters, *, say: Callable[[str], None]) -> Iterator[Probe]:
    """Ask the roles that a run would ask. A model that failed in one role is not tried again in the next.

    Raises:
        BudgetExceededError: no call is left.
        ArtifactError: the answer cannot be stored, which is no fault of the model.
    """
    asked: dict[Role, PromptedModel] = {
        "analyst": adapters.analyst,
        "generator": adapters.generator,
        "judge": adapters.judge,
    }
    failed: dict[str, str] = {}
    for role in list_roles(config):
        model = get_model(config, role)
        key = model.model_dump_json()
        if model.provider in NOT_ASKED or model.economy == "batch":
            yield Probe(role, model.model, None)
        elif key in failed:
            yield Probe(role, model.model, 0.0, failed[key], stops=True)
        else:
            say(f"asking the {role}, {model.model}")
            probe = _probe(role, asked[role], temperature=config.generation.temperature if role == "generator" else 0.0)
            failed |= {key: probe.problem} if probe.stops else {}
            yield probe


def tell_silent(probes: Sequence[Probe]) -> list[Finding]:
    """Findings for the problems. A model's problem is one finding, however many roles it has."""
    roles: dict[tuple[str, bool], list[str]] = {}
    for probe in probes:
        if probe.problem:
            roles.setdefault((probe.problem, probe.stops), []).append(f"models.{probe.role}")
    return [
        stop(f"{', '.join(names)}: {problem}", "settings") if stops else warn(f"{', '.join(names)}: {problem}")
        for (problem, stops), names in roles.items()
    ]


def _probe(role: Role, teacher: PromptedModel, *, temperature: float) -> Probe:
    started = time.monotonic()
    problem, stops = "", False

    def ask(question: str) -> None:
        structured_call(
            teacher.model,
            question,
            Readiness,
            wrap="object",
            temperature=temperature,
            max_output_tokens=teacher.max_output_tokens,
            tags={"prompt": "probe", "agent": role},
            max_reasks=0,
        )

    try:
        map_concurrently(
            ask, [QUESTION]
        )  # in a thread: Ctrl-C ends what the main thread does, and the call is paid for
    except BudgetExceededError:
        raise
    except StructuredOutputError as exc:
        problem = f"it answered a test question, but not in the form that was asked for: {exc}"
    except AgentError as exc:
        problem, stops = str(exc), True
    return Probe(role, teacher.model.name, time.monotonic() - started, problem, stops)
