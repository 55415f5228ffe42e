"""Held-out text never passes; training text and plain words do."""

import pytest

from pada_agent.agents.guards.leak_guard import LeakGuard, slide_windows, split_passages
from pada_agent.core.records import Example, Strategy, Turn
from tests.toy_world import WordCountEmbedder

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


PASSAGE = "The quarry of Tolmin closed in 1954 after its kiln had burst."
HELD_OUT = {
    "its passage": Example(
        id="v4", prompt=f"{PASSAGE}\n\nWhen did it close?", answer="1954", reference={"question": "When did it close?"}
    ),
    "a wrong option": Example(
        id="v5",
        prompt="Which was left?",
        answer="a candle",
        options=("a candle", "the quarry of Tolmin closed in 1954 after its kiln had burst"),
        reference={"question": "Which was left?"},
    ),
    "an earlier turn": Example(
        id="v6",
        prompt="yes please",
        answer="accept",
        history=(Turn(role="user", content=PASSAGE), Turn(role="assistant", content="Shall I send a new one?")),
    ),
}


@pytest.mark.parametrize("row", HELD_OUT.values(), ids=HELD_OUT)
def test_a_quotation_is_cut_whatever_part_of_a_held_out_row_it_is_from(row: Example) -> None:
    approach = "Write about a place where the quarry of Tolmin closed in 1954 after its kiln had burst."
    assert "Tolmin" not in LeakGuard([row], [KNOWN]).clear(make(approach)).strategy.generation_approach
    known = row.model_copy(update={"id": "t2"})
    assert LeakGuard([row], [known]).clear(make(approach)).redactions == (), "the writer sees it anyway"


PARAPHRASE = "Seven lukewarm teas the purple walrus ordered."


def guard(threshold: float | None = 0.8, training: tuple[Example, ...] = (KNOWN,)) -> LeakGuard:
    return LeakGuard([SECRET], training, embedder=WordCountEmbedder(), threshold=threshold)


@pytest.mark.parametrize(
    "approach",
    [
        f"Write about animals. {PARAPHRASE} Vary the drink.",
        f"Write about animals. For example: {PARAPHRASE} Vary the drink.",
        f'Write about animals, as in "{PARAPHRASE}" Vary the drink.',
        f"Write about animals.\n- {PARAPHRASE}\n- Vary the drink.",
    ],
)
def test_a_sentence_in_other_words_is_cut_with_its_row_and_similarity_as_evidence(approach: str) -> None:
    cleared = guard().clear(make(approach))
    assert "walrus" not in cleared.strategy.generation_approach + cleared.strategy.key_elements[0]
    assert "Vary the drink" in cleared.strategy.generation_approach
    (near,) = cleared.near
    assert near.row_id == "v1" and near.similarity > 0.8 and "walrus" in near.text
    assert near.text in cleared.redactions


def test_without_a_threshold_the_paraphrase_gets_through() -> None:
    assert "walrus" in guard(threshold=None).clear(make(PARAPHRASE)).strategy.generation_approach


def test_a_sentence_nearer_to_a_training_row_is_no_secret() -> None:
    twin = Example(id="t2", prompt=PARAPHRASE, answer="zoo desk")
    assert "walrus" in guard(training=(KNOWN, twin)).clear(make(PARAPHRASE)).strategy.generation_approach


def test_a_sentence_of_a_long_row_is_found_alone() -> None:
    long = Example(id="v4", prompt=f"{SECRET.prompt}. Nobody in the kitchen believed him at first.", answer="x")
    found = LeakGuard([long], [], embedder=WordCountEmbedder(), threshold=0.8).clear(make(PARAPHRASE))
    assert [n.row_id for n in found.near] == ["v4"]


def test_text_without_anything_near_is_left_as_it_is() -> None:
    strategy = make("Write about  orchards:\n- one tree\n- a 'quoted' word")
    assert guard().clear(strategy).strategy == strategy


def test_sentences_end_at_stops_colons_line_breaks_and_open_at_quotation_marks() -> None:
    assert split_passages("One. Two: three\nfour, as in 'five six'. Don't") == [
        "One.",
        "Two:",
        "three",
        "four, as in",
        "five six'.",
        "Don't",
    ]


WOVEN = (
    "Write polite messages in which a clerk tells us that seven lukewarm teas were what the purple walrus ordered"
    " and then asks a supervisor to send somebody round with a mop and a new menu."
)


def test_a_paraphrase_woven_into_an_instruction_takes_its_sentence_with_it() -> None:
    cleared = guard(threshold=0.7).clear(make(f"Write about animals. {WOVEN} Vary the drink."))
    assert cleared.strategy.generation_approach == "Write about animals. […] Vary the drink."
    (near,) = cleared.near
    assert near.row_id == "v1" and near.similarity > 0.7 and near.text == WOVEN
    words = WordCountEmbedder()
    whole, row = words.embed([WOVEN, SECRET.prompt])
    assert sum(a * b for a, b in zip(whole, row, strict=True)) < 0.7, "the whole sentence alone would pass"


def test_a_part_nearer_to_a_training_row_is_no_secret() -> None:
    twin = Example(id="t2", prompt="seven lukewarm teas were what the purple walrus ordered", answer="zoo desk")
    strategy = make(WOVEN)
    assert guard(threshold=0.7, training=(KNOWN, twin)).clear(strategy).strategy == strategy


def test_windows_cover_a_sentence_to_its_last_word_and_leave_short_ones_alone() -> None:
    assert slide_windows("One two, don't four five six.", [4]) == [
        "One two, don't four",
        "two, don't four five",
        "don't four five six",
    ]
    assert slide_windows("one two three four five six seven eight nine", [8]) == [
        "one two three four five six seven eight",
        "two three four five six seven eight nine",
    ]
    assert slide_windows("one two three", [3, 8]) == []


def test_without_a_held_out_text_of_some_length_nothing_is_near() -> None:
    short = Example(id="v9", prompt="tea", answer="zoo")
    strategy = make(WOVEN)
    assert LeakGuard([short], [KNOWN], embedder=WordCountEmbedder(), threshold=0.1).clear(strategy).strategy == strategy


@pytest.mark.parametrize(
    ("approach", "is_empty"),
    [
        (SECRET.prompt, True),
        (f"“{SECRET.prompt}” and so on", True),
        (f"Like this one: {SECRET.prompt}. Name an animal and what it drinks.", False),
        ("Be brief.", False),
    ],
)
def test_a_strategy_of_which_nothing_is_left_says_so(approach: str, is_empty: bool) -> None:
    assert LeakGuard([SECRET], []).clear(make(approach)).says_nothing is is_empty
