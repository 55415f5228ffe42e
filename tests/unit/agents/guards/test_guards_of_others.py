"""A guard of an application or another package that cannot do its work is refused with its name."""

from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from pada_agent.agents.data_generation.generate import Assignment
from pada_agent.agents.guards.draft_checks import verify_drafts
from pada_agent.agents.guards.guard import Guard, GuardContext, Refusal
from pada_agent.agents.guards.registry import check_guards, find_guards
from pada_agent.core import plugins
from pada_agent.core.config import RunConfig, TaskConfig
from pada_agent.core.errors import ConfigError, PadaError, PartError
from pada_agent.core.raw_rows import RawRow
from pada_agent.core.records import Draft, Example, Provenance
from pada_agent.evaluation.tasks.registry import make_task

TASK = make_task(TaskConfig(name="exact_match"))
ORIGIN = Provenance(
    branch="pattern", iteration=1, batch_id="b1", attempt=1, source_id="t1", row=0, strategy_id="s1", call_key="k"
)


class MaxWords(Guard):
    name = "maxwords"
    stage = "length"

    def check(self, candidates: Sequence[Example]) -> Mapping[str, Refusal]:
        del candidates
        return {}


class Unnamed(Guard):
    stage = "length"

    def check(self, candidates: Sequence[Example]) -> Mapping[str, Refusal]:
        del candidates
        return {}


class Misspelled(Guard):
    name = "misspelled"

    def chek(self, candidates: Sequence[Example]) -> Mapping[str, Refusal]:
        del candidates
        return {}


def install(monkeypatch: pytest.MonkeyPatch, name: str, part: object) -> None:
    point = SimpleNamespace(name=name, value="their:Part", load=lambda: part)
    monkeypatch.setattr(plugins, "entry_points", lambda group: [point] if group == plugins.GUARDS.group else [])


@pytest.mark.parametrize(
    ("name", "guard", "told"),
    [
        (
            "max_words",
            MaxWords,
            r"'max_words' \(their:Part\) has the name 'maxwords'\. It must be the name of its entry",
        ),
        ("unnamed", Unnamed, r"'unnamed' \(their:Part\) is incomplete: it must define name$"),
        ("misspelled", Misspelled, r"is incomplete: it must define stage, check$"),
    ],
)
def test_a_guard_is_refused_where_it_is_looked_up(
    name: str, guard: object, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, name, guard)
    with pytest.raises(ConfigError, match=told):
        find_guards([name])


def test_a_guard_by_its_own_name_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, "maxwords", MaxWords)
    assert find_guards(["maxwords"])[-1] is MaxWords


@pytest.mark.parametrize(
    ("guard", "told"),
    [
        (Misspelled, "guards: Misspelled is incomplete: it must define stage, check"),
        (len, "is not a subclass of Guard"),
    ],
)
def test_a_guard_that_an_application_brings_is_refused_before_the_run(guard: Any, told: str) -> None:
    with pytest.raises(PartError, match=told):
        check_guards([MaxWords, guard])


async def answer_later() -> dict[str, Refusal]:
    return {}


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (lambda _: None, r"^Theirs\.check must return a value of type Mapping, not None\.$"),
        (lambda rows: [rows[0].id], r"Theirs\.check must return a value of type Mapping, not one of type list"),
        (lambda _: answer_later(), r"Theirs\.check must return .* not a coroutine\. Define it without async"),
        (
            lambda rows: {rows[0].id: "too long"},
            r"values of Theirs\.check must return a value of type Refusal, not one of type str",
        ),
        (lambda _: {"t1": Refusal(reason="too long")}, r"Theirs\.check rejected 't1', which is not the id of a row"),
    ],
)
def test_what_a_guard_must_not_return_is_one_error_with_its_name(
    answer: Callable[[Sequence[Example]], Any], told: str
) -> None:
    class Theirs(MaxWords):
        def check(self, candidates: Sequence[Example]) -> Mapping[str, Refusal]:
            found: Mapping[str, Refusal] = answer(candidates)
            return found

    source = TASK.read(RawRow(where="t:1", fields={"id": "t1", "question": "Is it on?", "answer": "yes"}))
    draft = Draft(row=0, fields={"question": "Is it off?", "answer": "yes"}, provenance=ORIGIN)
    guard = Theirs(GuardContext(settings=RunConfig(), task=TASK))
    with pytest.raises(PadaError, match=told):
        verify_drafts([draft], [Assignment(row=0, source=source, given={})], task=TASK, guards=[guard])
