"""What a strategy keeps of what the analyst wrote."""

import json
import re
from functools import partial

import pytest

from pada_agent.agents.pattern_analysis.strategy_drafting import cut_samples, draft_strategies, split_by_known_labels
from pada_agent.core.chat import ChatRequest
from pada_agent.core.config import TaskConfig
from pada_agent.core.records import Confusion, ErrorPattern
from pada_agent.evaluation.tasks.registry import make_task
from pada_agent.prompts.prompted_model import PromptedModel
from tests.fakes import ScriptedModel

PATTERN = ErrorPattern(
    id="i1-p1",
    category_name="bills",
    error_pattern="Takes debts for bills.",
    example_ids=("v1",),
    n_analyzed=1,
    cluster=0,
)


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        (
            "State the issue. For example, 'I'm having trouble with it. Can you help?' or 'I need to check my bill.'",
            "State the issue.",
        ),
        ('Write of refunds, such as "where has my money gone today", and of debt.', "Write of refunds, and of debt."),
        ("Ask about a bill (e.g. “how do I pay my own bill”) in passing.", "Ask about a bill in passing."),
        (
            "Write rows for 'meter faults' with a customer's name.",
            "Write rows for 'meter faults' with a customer's name.",
        ),
        ("Don't name it; keep the customers' words, and don't explain.",) * 2,
        ("'I am a sample and nothing else at all.'",) * 2,
        (
            "State the issue. For example, if the message is 'I need to check my bill', the correct answer is 'billing'.",
            "State the issue.",
        ),
        ('Write "I cannot pay my bill this month" or the like. Name a person.', "Name a person."),
        ('Say little. A row may be "I owe you money. What now?" Then name a date.', "Say little. Then name a date."),
        ("For instance, 'where has my money gone' would do. Be brief.", "Be brief."),
        ("Write of debts (“I cannot pay my bill now”) and of dates.", "Write of debts and of dates."),
        ("Write of debts: 'I cannot pay my bill now'.", "Write of debts."),
        ("Say something like 'I cannot log in now', not 'my bill is too high'. Be brief.", "Be brief."),
        ("写出不同的问题。不要写「我的账单为什么这么高呢」这样的话。要简短。", "写出不同的问题。要简短。"),
    ],
)
def test_quoted_samples_are_cut_and_quoted_terms_and_apostrophes_stay(written: str, kept: str) -> None:
    assert cut_samples(written) == kept


def test_a_drafted_strategy_carries_no_sample_to_the_writer() -> None:
    item = {
        "pattern": 1,
        "strategy_name": "debts",
        "generation_approach": "Write of debts. For example, 'I cannot pay my bill, can you help me?'",
        "key_elements": ['a debt, like "I owe you so much money"', "a person"],
    }
    model = ScriptedModel([json.dumps([item])])
    task = make_task(TaskConfig(name="exact_match"))
    (strategy,) = draft_strategies([PATTERN], task=task, analyst=PromptedModel(model)).strategies
    assert strategy.generation_approach == "Write of debts."
    assert strategy.key_elements == ("a debt", "a person")


def test_a_repeated_strategy_is_drafted_again_unless_no_writer_sees_it() -> None:
    other = PATTERN.model_copy(update={"id": "i1-p2", "category_name": "debts"})
    drafts = [
        {"pattern": n, "strategy_name": f"bills {n}", "generation_approach": "Write about bills that name a date."}
        for n in (1, 2)
    ]
    new = {"pattern": 1, "strategy_name": "debts", "generation_approach": "Have people ask for more time to pay."}

    def draft(*, may_repeat: bool) -> tuple[list[str], int]:
        model = ScriptedModel([json.dumps(drafts), json.dumps([new])])
        task = make_task(TaskConfig(name="exact_match"), model)
        found = draft_strategies([PATTERN, other], task=task, analyst=PromptedModel(model), may_repeat=may_repeat)
        assert found.warnings == ()
        return [strategy.strategy_name for strategy in found.strategies], len(model.requests)

    assert draft(may_repeat=False) == (["bills 1", "debts"], 2)
    assert draft(may_repeat=True) == (["bills 1", "bills 2"], 1)


def test_strategies_of_one_name_are_told_apart_by_their_patterns() -> None:
    drafts = [
        ("Correcting", "Write about debts and how they began."),
        ("Own", "Tell of a card that was lost."),
        ("correcting", "Ask for a date or a place."),
    ]
    answer = [
        {"pattern": n, "strategy_name": name, "generation_approach": approach}
        for n, (name, approach) in enumerate(drafts, start=1)
    ]
    model, task = ScriptedModel([json.dumps(answer)]), make_task(TaskConfig(name="exact_match"))
    found = draft_strategies(make_patterns(3), task=task, analyst=PromptedModel(model))
    names = [strategy.strategy_name for strategy in found.strategies]
    assert names == ["Correcting (kind 1.)", "Own", "correcting (kind 3.)"]


def make_patterns(n: int) -> list[ErrorPattern]:
    return [PATTERN.model_copy(update={"id": f"i1-p{i}", "category_name": f"kind {i}."}) for i in range(1, n + 1)]


def draft_each(request: ChatRequest, *, refused: str = "") -> str:
    """A strategy for each pattern of the prompt, unless the filter refuses one of them."""
    kinds = re.findall(r"kind (\d+)\.", request.messages[0].content.partition("Answer with a JSON")[0])
    if refused in kinds:
        return "I cannot help with that."
    return json.dumps(
        [
            {"pattern": n, "strategy_name": f"of {kind}", "generation_approach": f"{kind} " * 20}
            for n, kind in enumerate(kinds, start=1)
        ]
    )


def test_every_pattern_is_asked_about_however_many_there_are() -> None:
    model, task = ScriptedModel(draft_each), make_task(TaskConfig(name="exact_match"))
    found = draft_strategies(make_patterns(35), task=task, analyst=PromptedModel(model))
    assert [s.pattern_id for s in found.strategies] == [f"i1-p{i}" for i in range(1, 36)]
    assert (found.warnings, len(model.requests)) == ((), 4)


def test_a_pattern_that_is_refused_takes_hardly_any_other_with_it() -> None:
    model = ScriptedModel(partial(draft_each, refused="3"))
    task = make_task(TaskConfig(name="exact_match"))
    found = draft_strategies(make_patterns(12), task=task, analyst=PromptedModel(model))
    assert {f"i1-p{i}" for i in range(1, 13)} - {s.pattern_id for s in found.strategies} == {"i1-p3", "i1-p4"}
    assert "no strategy of its own for 'kind 3.', 'kind 4.'" in found.warnings[0]


def test_a_pattern_whose_missed_label_has_no_training_row_gets_no_strategy_and_the_warning_says_so() -> None:
    def mixed(name: str, *golds: str) -> ErrorPattern:
        confusions = tuple(Confusion(gold=gold, predicted="fees", count=3) for gold in golds)
        return PATTERN.model_copy(update={"category_name": name, "confusions": confusions})

    unknown, partly, known, open_ended = mixed("a", "refund"), mixed("b", "refund", "card"), mixed("c", "card"), PATTERN
    kept, warnings = split_by_known_labels([unknown, partly, known, open_ended], {"fees", "card"})
    assert kept == [partly, known, open_ended]
    assert warnings == (
        "strategy drafting: none for 'a', because no training row has the label that is missed there ('refund'). Add such rows",
    )
