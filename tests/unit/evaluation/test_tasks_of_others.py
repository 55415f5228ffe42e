"""A task of an application or another package that cannot do its work is refused with its name."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from pada_agent.agents.guards.guard import GuardContext
from pada_agent.agents.guards.row_guards import ExactLabel
from pada_agent.core import plugins
from pada_agent.core.config import RunConfig, TaskConfig
from pada_agent.core.errors import ConfigError, PartError
from pada_agent.core.recipes import Recipe, find_recipe
from pada_agent.core.records import Example, Prediction, Verdict
from pada_agent.evaluation.rows.reading import read_files
from pada_agent.evaluation.task import Task, verify_answers
from pada_agent.evaluation.tasks.exact_match import ExactMatch
from pada_agent.evaluation.tasks.registry import find_task_kind
from tests.unit.evaluation.cases import row

ROWS = [Example(id="a", prompt="Is it on?", answer="yes"), Example(id="b", prompt="Is it off?", answer="no")]
ANSWERS = [Prediction(example_id=example.id, response="yes") for example in ROWS]


async def answer_later() -> Verdict:
    return Verdict(example_id="a", value="correct")


def make_theirs(**methods: Any) -> Task:
    return type("Theirs", (ExactMatch,), methods)(TaskConfig(name="theirs"))


@pytest.mark.parametrize(
    ("methods", "told"),
    [
        ({"verify": lambda *_: None}, r"^Theirs\.verify must return a value of type Verdict, not None\.$"),
        ({"verify": lambda *_: True}, r"Theirs\.verify must return a value of type Verdict, not one of type bool"),
        (
            {"verify": lambda *_: Verdict(example_id="a", value="wrong")},
            r"Theirs\.verify returned a verdict on 'a' for the row 'b'\. Set example_id to the id",
        ),
        ({"verify_all": lambda *_: []}, r"Theirs\.verify_all must return one verdict per row, but returned 0 for 2"),
    ],
)
def test_what_a_task_must_not_return_as_verdicts_is_one_error_with_its_name(methods: Any, told: str) -> None:
    with pytest.raises(PartError, match=told):
        verify_answers(make_theirs(**methods), ROWS, ANSWERS)


def test_a_task_may_return_a_tuple_and_keep_what_it_wants_in_a_reference() -> None:
    def verify_all(examples: Sequence[Example]) -> tuple[Verdict, ...]:
        return tuple(Verdict(example_id=e.id, value="correct") for e in examples)

    rows = [e.model_copy(update={"reference": {"answers": n}}) for e, n in zip(ROWS, (3, [1, 2]), strict=True)]
    verdicts = verify_answers(make_theirs(verify_all=lambda _, rows, __: verify_all(rows)), rows, ANSWERS)
    assert [verdict.example_id for verdict in verdicts] == ["a", "b"]


def test_an_async_task_names_the_task() -> None:
    with pytest.raises(PartError, match=r"Theirs\.verify must .* not a coroutine\. Define it without async"):
        verify_answers(make_theirs(verify=lambda *_: answer_later()), ROWS[:1], ANSWERS[:1])


def test_a_label_without_a_verdict_names_the_task() -> None:
    guard = ExactLabel(GuardContext(settings=RunConfig(), task=make_theirs(verify_label=lambda *_: False)))
    with pytest.raises(PartError, match=r"Theirs\.verify_label must return a value of type Verdict"):
        guard.check(ROWS)


def test_a_row_that_is_no_example_names_the_task() -> None:
    with pytest.raises(PartError, match=r"Theirs\.read must return a value of type Example, not None"):
        read_files(make_theirs(read=lambda *_: None), [[row(question="Is it on?", answer="yes")]])


class Half(Task):
    """Lacks most of its methods."""

    name = "half"


def install(monkeypatch: pytest.MonkeyPatch, kind: plugins.PartKind, name: str, part: object) -> None:
    point = SimpleNamespace(name=name, value="their:Part", load=lambda: part)
    monkeypatch.setattr(plugins, "entry_points", lambda group: [point] if group == kind.group else [])


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (
            "half",
            r"^task\.name: the entry point 'half' \(their:Part\) is incomplete: it must define compose, draft_fields",
        ),
        ("whole", r"is incomplete: it must define compose"),
    ],
)
def test_an_incomplete_task_is_refused_where_it_is_looked_up(
    name: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, plugins.TASKS, name, Half)
    with pytest.raises(ConfigError, match=told):
        find_task_kind(name)


def test_a_task_that_inherits_the_name_of_another_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, plugins.TASKS, "theirs", type("Theirs", (ExactMatch,), {}))
    with pytest.raises(ConfigError, match=r"has the name 'exact_match'\. It must be the name of its entry point"):
        find_task_kind("theirs")


def test_a_recipe_of_another_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, plugins.RECIPES, "shorter", Recipe(template="briefer", text="{{ task }}"))
    with pytest.raises(ConfigError, match=r"has the template 'briefer'\. It must be the name of its entry point"):
        find_recipe("shorter")
