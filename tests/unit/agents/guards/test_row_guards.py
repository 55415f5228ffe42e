"""Each guard by itself, and what becomes of what it refuses."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from pada_agent.agents.data_generation.generate import Assignment
from pada_agent.agents.guards.draft_checks import verify_drafts
from pada_agent.agents.guards.guard import Guard, GuardContext, Refusal
from pada_agent.agents.guards.registry import BUILT_IN, find_guards
from pada_agent.agents.guards.row_guards import HeldOutMeaning, HeldOutWords, Learnable, Repetition
from pada_agent.core.config import RunConfig, TaskConfig
from pada_agent.core.errors import ConfigError
from pada_agent.core.records import Draft, Example, Provenance
from pada_agent.evaluation.tasks.registry import make_task
from tests.toy_world import WordCountEmbedder

TASK = make_task(TaskConfig(name="exact_match"))


def row(row_id: str, question: str) -> Example:
    return Example(id=row_id, prompt=question, answer="a", reference={"question": question})


OLD = row("old", "where does the grey heron sleep at night in winter")
ALIKE = row("new", "where does the grey heron sleep at night in summer")
OTHER = row("other", "who owns the red bicycle beside the gate")


def check(
    kind: type[Guard], rows: Sequence[Example], *, settings: Mapping[str, Any] | None = None, **context: Any
) -> Any:
    config = RunConfig.model_validate(settings or {})
    return kind(GuardContext(settings=config, task=TASK, **context)).check(rows)


def test_a_row_that_the_student_cannot_learn_is_refused() -> None:
    explain = {"new": "too long", "other": None}
    found = check(Learnable, [ALIKE, OTHER], explain_unlearnable=lambda e: explain[e.id])
    assert found == {"new": Refusal(reason="too long")}


@pytest.mark.parametrize(("threshold", "refused"), [(0.85, ["new"]), (1.0, [])])
def test_a_repetition_is_what_settings_call_one(threshold: float, refused: list[str]) -> None:
    found = check(Repetition, [ALIKE, OTHER], settings={"generation": {"near_duplicate_rouge": threshold}}, known=[OLD])
    assert list(found) == refused
    assert all(refusal.overlap.protected_id == "old" for refusal in found.values())


def test_held_out_words_are_found_without_an_embedder() -> None:
    copy = OLD.model_copy(update={"id": "copy"})
    assert list(check(HeldOutWords, [copy, OTHER], protected=[OLD])) == ["copy"]


@pytest.mark.parametrize(("similarity", "refused"), [(0.85, ["new"]), (None, [])])
def test_meaning_is_compared_unless_it_is_switched_off(similarity: float | None, refused: list[str]) -> None:
    settings = {"guard": {"contamination_similarity": similarity}}
    found = check(HeldOutMeaning, [ALIKE, OTHER], settings=settings, protected=[OLD], embedder=WordCountEmbedder())
    assert list(found) == refused


def test_names_tell_guards_apart_and_only_what_is_no_certainty_can_be_overruled() -> None:
    assert len({guard.name for guard in BUILT_IN}) == len(BUILT_IN)
    assert {g.name for g in BUILT_IN if g.may_be_overruled} == {
        "held_out_meaning",
        "label_likelihood",
        "writing_system",
    }


class Picky(Guard):
    name, stage = "picky", "taste"
    seen: list[str]

    def check(self, candidates: Sequence[Example]) -> Mapping[str, Refusal]:
        self.seen = [c.id for c in candidates]
        return {candidates[0].id: Refusal(reason="not to my taste")}


class Lenient(Picky):
    name, may_be_overruled = "lenient", True


def test_each_guard_sees_what_those_before_it_let_pass() -> None:
    source = row("source", "what")
    origin = {"branch": "pattern", "iteration": 1, "batch_id": "b", "attempt": 1, "source_id": "source"}
    drafts = [
        Draft(
            row=n, fields={"question": text, "answer": "b"}, provenance=Provenance.model_validate({**origin, "row": n})
        )
        for n, text in enumerate(["why", "whose", "when"])
    ]
    context = GuardContext(settings=RunConfig(), task=TASK)
    first, second = Picky(context), Lenient(context)
    assigned = [Assignment(row=n, source=source, given={}) for n in range(3)]
    found = verify_drafts(drafts, assigned, task=TASK, guards=[first, second])
    assert [c.prompt for c in found.candidates] == ["when"]
    assert [len(guard.seen) for guard in (first, second)] == [3, 2]
    assert [(r.stage, r.reason) for r in found.rejections] == [("taste", "not to my taste")] * 2
    assert [r.example is not None for r in found.rejections] == [False, True], "a person may overrule the second"


def test_a_guard_that_is_not_installed_is_named() -> None:
    with pytest.raises(ConfigError, match=r"guard.plugins: there is no guard 'gone'; no installed package brings one"):
        find_guards(["gone"])
    with pytest.raises(ValueError, match="there is no guard 'gone'"):
        RunConfig.model_validate({"guard": {"plugins": {"gone": {}}}})
