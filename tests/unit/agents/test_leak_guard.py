"""Held-out text never passes; training text and plain words do."""

from pada_agent.agents.leak_guard import LeakGuard
from pada_agent.core.records import Example, Strategy

SECRET = Example(id="v1", prompt="the purple walrus ordered seven lukewarm teas", answer="zoo desk")
KNOWN = Example(id="t1", prompt="my lamp has gone dark since monday", answer="repairs")


def make(approach: str) -> Strategy:
    return Strategy(
        id="s",
        pattern_id="p",
        category_name="c",
        strategy_name="n",
        generation_approach=approach,
        key_elements=(approach,),
    )


def test_a_quotation_is_cut_from_every_field_and_kept_as_evidence() -> None:
    cleared = LeakGuard([SECRET], []).clear(
        make("Write: 'The purple walrus, ordered seven lukewarm teas' in other words.")
    )
    assert cleared.strategy.generation_approach == "Write: '[…]' in other words."
    assert cleared.strategy.key_elements == ("Write: '[…]' in other words.",)
    assert cleared.redactions[0] == "The purple walrus, ordered seven lukewarm teas"


def test_a_part_of_six_words_is_cut() -> None:
    cleared = LeakGuard([SECRET], []).clear(make("mention purple walrus ordered seven lukewarm teas please"))
    assert "walrus" not in cleared.strategy.generation_approach


def test_text_that_also_stands_in_training_is_no_secret() -> None:
    copied = KNOWN.model_copy(update={"id": "v2"})
    approach = "as in: my lamp has gone dark since monday"
    assert LeakGuard([copied], [KNOWN]).clear(make(approach)).strategy.generation_approach == approach


def test_a_clean_strategy_passes_unchanged() -> None:
    strategy = make("Write messages about animals that order drinks; vary the number and the drink.")
    cleared = LeakGuard([SECRET], [KNOWN]).clear(strategy)
    assert cleared.strategy == strategy and cleared.redactions == ()


def test_a_short_held_out_text_counts_as_a_whole() -> None:
    short = Example(id="v3", prompt="walrus wants tea now", answer="x")
    assert "walrus" not in LeakGuard([short], []).clear(make("e.g. Walrus wants tea now!")).strategy.generation_approach
