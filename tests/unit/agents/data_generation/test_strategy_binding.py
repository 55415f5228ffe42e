"""Rows of one label see only what their strategy says about it."""

import pytest

from pada_agent.agents.data_generation.strategy_binding import bind_to_label
from pada_agent.core.records import GuardedStrategy, Strategy

LABELS = ("card payment", "declined card payment", "refund not showing up", "payment", "no", "failed transfer", "other")


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
            "Be brief. Mention declined card payments! Say how long ago.",
            "Be brief. Say how long ago.",
        ),
        ("refund not showing up", "1. Mention a declined card payment.\n2. Say how long ago.", "2. Say how long ago."),
        ("card payment", "Mention a declined card payment.", ""),
        ("card payment", "Use 'other' for the rest.", ""),
    ],
    ids=["other", "sentence", "list", "its name inside another", "one word in quotes"],
)
def test_a_sentence_that_names_other_labels_only_is_left_out(label: str, approach: str, kept: str) -> None:
    assert bind_to_label(guarded(approach), label, LABELS).strategy.generation_approach == kept


@pytest.mark.parametrize(
    ("label", "approach"),
    [
        ("refund not showing up", "Tell refund not showing up from declined card payment."),
        ("refund not showing up", "Mention a refund that is not showing up, not a declined card payment."),
        ("failed transfer", "Make clear whether the transfer failed or a declined card payment came first."),
        ("card payment", "Make clear how card payments differ from a refund not showing up."),
        ("card payment", "Tell a card payment from a declined card payment."),
        ("card payment", "Say that there is no money, in other words than these."),
        ("declined card payment", "Mention a card payment that was declined."),
        ("no", 'Say "no" to a refund not showing up.'),
        ("card payment", "Do this:\n- be brief\n- name the shop"),
    ],
)
def test_a_sentence_about_the_label_or_about_none_stays(label: str, approach: str) -> None:
    assert bind_to_label(guarded(approach), label, LABELS).strategy.generation_approach == approach


@pytest.mark.parametrize(
    ("label", "labels", "approach", "kept"),
    [
        ("card_arrival", ("card_arrival", "declined_card_payment"), "Mention a declined card payment.", ""),
        (
            "card_arrival",
            ("card_arrival", "declined_card_payment"),
            "Tell card arrival from declined_card_payment.",
            None,
        ),
        ("物流查询", ("物流查询", "账户冻结"), "写短一点。提到账户冻结。", "写短一点。"),
        ("物流查询", ("物流查询", "退款"), "写短一点。提到“退款”。", "写短一点。"),
        (
            "Rückerstattung",
            ("Rückerstattung", "abgelehnte Kartenzahlung"),
            "Schreibe über abgelehnte Kartenzahlungen.",
            "",
        ),
        ("good", ("good", "bad"), "Write in bad, natural English.", None),
    ],
)
def test_labels_of_all_kinds_are_found(label: str, labels: tuple[str, ...], approach: str, kept: str | None) -> None:
    bound = bind_to_label(guarded(approach), label, labels).strategy.generation_approach
    assert bound == (approach if kept is None else kept)


def test_the_name_of_a_strategy_is_bound_as_well() -> None:
    strategy = guarded("Be brief.").strategy.model_copy(update={"strategy_name": "Declined card payment details"})
    bound = bind_to_label(GuardedStrategy(strategy=strategy), "refund not showing up", LABELS).strategy
    assert (bound.strategy_name, bound.generation_approach) == ("", "Be brief.")


def test_elements_about_other_labels_go_and_nothing_else_changes() -> None:
    whole = guarded("Be brief.", "a refund not showing up", "the amount")
    bound = bind_to_label(whole, "card payment", LABELS)
    assert bound.strategy == whole.strategy.model_copy(update={"key_elements": ("the amount",)})


@pytest.mark.parametrize(("label", "labels"), [(None, LABELS), ("an answer", ())])
def test_open_answers_see_the_whole_strategy(label: str | None, labels: tuple[str, ...]) -> None:
    whole = guarded("Mention a declined card payment.", "refund not showing up")
    assert bind_to_label(whole, label, labels) == whole
