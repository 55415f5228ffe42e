"""Rows of one label see only what their strategy says about it."""

import pytest

from pada_agent.agents.data_generation.strategy_binding import bind_to_label
from pada_agent.core.records import GuardedStrategy, Strategy

LABELS = ("card payment", "declined card payment", "refund not showing up", "payment", "no")


def guarded(approach: str, *elements: str) -> GuardedStrategy:
    strategy = Strategy(
        id="i1-s1",
        pattern_id="i1-p1",
        category_name="c",
        strategy_name="s",
        generation_approach=approach,
        key_elements=elements,
    )
    return GuardedStrategy(strategy=strategy)


@pytest.mark.parametrize(
    ("label", "approach", "kept"),
    [
        ("refund not showing up", "Mention a 'Declined card payment'.", ""),
        (
            "refund not showing up",
            "Be brief. Mention a declined card payment! Say how long ago.",
            "Be brief. Say how long ago.",
        ),
        ("refund not showing up", "Tell refund not showing up from declined card payment.", None),
        ("declined card payment", "Mention a card payment that was declined.", None),
        ("card payment", "Mention a declined card payment.", ""),
        ("card payment", "Say that there is no money.", None),
        ("no", "Say no to a refund not showing up.", None),
        ("card payment", "Write about refunds.", None),
    ],
    ids=[
        "other",
        "sentence",
        "both",
        "part of its name",
        "its name inside another",
        "short names",
        "own short name",
        "none",
    ],
)
def test_a_sentence_that_names_other_labels_only_is_left_out(label: str, approach: str, kept: str | None) -> None:
    bound = bind_to_label(guarded(approach), label, LABELS).strategy
    assert bound.generation_approach == (approach if kept is None else kept)


def test_elements_about_other_labels_go_and_nothing_else_changes() -> None:
    whole = guarded("Be brief.", "a refund not showing up", "the amount")
    bound = bind_to_label(whole, "card payment", LABELS)
    assert bound.strategy == whole.strategy.model_copy(update={"key_elements": ("the amount",)})


@pytest.mark.parametrize(("label", "labels"), [(None, LABELS), ("an answer", ())])
def test_open_answers_see_the_whole_strategy(label: str | None, labels: tuple[str, ...]) -> None:
    whole = guarded("Mention a declined card payment.", "refund not showing up")
    assert bind_to_label(whole, label, labels) == whole
