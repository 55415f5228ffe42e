"""One row's query in the place of a value of another's: what can be worded, and what fits."""

from collections.abc import Sequence
from random import Random

import pytest

from pada_agent.evaluation.query_variations.nesting import MAX_CHARACTERS, Phrase, make_phrase, nest, word_as_phrase
from pada_agent.evaluation.query_variations.questions import follow
from pada_agent.evaluation.sqlite.reader import Column, Table

HELD = {
    ("state", "state_name"): ("texas", "ohio", "maine"),
    ("city", "city_name"): ("austin", "texas", "portland"),
    ("city", "state_name"): ("texas", "maine"),
    ("river", "traverse"): ("texas", "ohio"),
}
TABLES = [
    Table(name=name, columns=tuple(Column(name=c, type="text", key=0) for t, c in HELD if t == name))
    for name in dict.fromkeys(table for table, _ in HELD)
]
LARGEST = "SELECT state_name FROM state ORDER BY area DESC LIMIT 1"
CAPITAL = "SELECT capital FROM state WHERE state_name = 'texas'"


def list_rows(table: str, columns: Sequence[str]) -> list[tuple[str]]:
    return [(value,) for value in HELD[table, columns[0]]]


def join(sql: str, question: str, *phrases: Phrase) -> tuple[str, str | None] | None:
    made = nest(sql, question, phrases, TABLES, list_rows=list_rows, rng=Random(0))
    return (made.sql, follow(question, sql, made.changes)) if made else None


@pytest.mark.parametrize(
    ("question", "phrase"),
    [
        ("Which state borders the most states?", "the state that borders the most states"),
        ("what states have a city named austin", "the states that have a city named austin"),
        ("what is the longest river", "the longest river"),
        ("Who is our youngest author?", "our youngest author"),
        ("what is our newest book", "our newest book"),
        ("which books did Ann publish in 1987", "the books that Ann publish in 1987"),
        ("who wrote Moss", None),
        ("name the lakes of michigan", "the lakes of michigan"),
        ("what are the names of the rivers in ohio", "the rivers in ohio"),
        ("what state is columbus the capital of", None),
        ("what states high point is lowest", None),
        ("how many states are there", None),
        ("welcher Staat ist am größten", None),
    ],
)
def test_a_question_as_words_that_another_can_hold(question: str, phrase: str | None) -> None:
    assert word_as_phrase(question) == phrase


def test_who_is_called_after_what_the_query_returns() -> None:
    one = make_phrase("Who wrote Moss?", "SELECT author FROM book WHERE title = 'Moss'", [("Ann",)])
    two = make_phrase("who lives there", "SELECT name FROM member WHERE town = 'x'", [("Ann",), ("Ben",)])
    assert one and one.text == "the author who wrote Moss"
    assert two and two.text == "the members who lives there"


def test_sorted_things_take_no_place_and_a_plural_is_looked_for_in_a_list() -> None:
    assert make_phrase("which states are large", "SELECT state_name FROM state ORDER BY area", [("ohio",)]) is None
    several = Phrase("the states that are large", "SELECT state_name FROM state WHERE area > 9", ("ohio",))
    made = join(CAPITAL, "what is the capital of texas", several)
    assert made and made[0] == f"SELECT capital FROM state WHERE state_name IN ({several.sql})"


@pytest.mark.parametrize("rows", [[], [("ohio", "maine")], [(3,)], [("ohio",), (None,)]])
def test_only_texts_of_one_column_take_a_place(rows: list[tuple[str | int | None, ...]]) -> None:
    assert make_phrase("what is the largest state", LARGEST, rows) is None


def test_a_query_takes_the_place_of_a_value_in_all_its_places() -> None:
    largest = make_phrase("what is the largest state?", f"{LARGEST};", [("Ohio",)])
    assert largest == Phrase("the largest state", LARGEST, ("ohio",))
    assert join(CAPITAL, "what is the capital of the state of Texas", largest) == (
        f"SELECT capital FROM state WHERE state_name = ({LARGEST})",
        "what is the capital of the largest state",
    )
    twice = (
        "SELECT river FROM river WHERE traverse = 'texas' AND n = (SELECT MAX(n) FROM river WHERE traverse = 'texas')"
    )
    made = join(twice, "what is the longest river in texas", largest)
    assert made and made[0].count(LARGEST) == 2 and "'texas'" not in made[0]


@pytest.mark.parametrize("named", ["texas", "the texas", "the state of Texas", "the texas state"])
def test_a_phrase_takes_the_place_of_all_words_that_name_a_value(named: str) -> None:
    made = join(CAPITAL, f"the city that {named} has as capital", Phrase("the largest state", LARGEST, ("ohio",)))
    assert made and made[1] == "the city that the largest state has as capital"


@pytest.mark.parametrize(
    ("question", "made"),
    [
        ("who lives in texas?", "who lives in the largest state?"),
        ("texas has which capital", "the largest state has which capital"),
        ("which texas towns are there", None),
        ("what is the largest texas", None),
        ("what is the capital of east texas", None),
        ("what is the river of texas", "what is the river of the largest state"),
    ],
)
def test_a_phrase_does_not_take_the_place_of_a_word_that_belongs_to_its_neighbour(
    question: str, made: str | None
) -> None:
    joined = join(CAPITAL, question, Phrase("the largest state", LARGEST, ("ohio",)))
    assert (joined and joined[1]) == made


def test_several_values_are_looked_for_in_a_list_and_never_counted_together() -> None:
    named = Phrase("the states that have a city", "SELECT DISTINCT state_name FROM city", ("ohio", "maine"))
    assert join(CAPITAL, "what is the capital of texas", named) == (
        f"SELECT capital FROM state WHERE state_name IN ({named.sql})",
        "what is the capital of the states that have a city",
    )
    assert join(CAPITAL, "how many people live in texas", named) is None


@pytest.mark.parametrize(
    ("inner", "joins"),
    [
        ("area < (SELECT area FROM state WHERE state_name = 'texas')", False),
        ("area = (SELECT MAX(area) FROM state WHERE state_name = 'texas')", True),
        ("capital IN (SELECT capital FROM state WHERE state_name = 'texas')", True),
        ("(1 < 2) AND state_name = 'texas'", True),
        (
            "area > (SELECT area FROM state WHERE capital IN (SELECT capital FROM state WHERE state_name = 'texas'))",
            False,
        ),
    ],
)
def test_several_values_are_not_put_where_one_is_compared(inner: str, joins: bool) -> None:
    several = Phrase("the states that have a city", "SELECT DISTINCT state_name FROM city", ("ohio", "maine"))
    sql, question = f"SELECT state_name FROM state WHERE {inner}", "which states go with texas"
    assert (join(sql, question, several) is not None) == joins
    one = Phrase("the largest state", LARGEST, ("ohio",))
    assert join(sql, question, one)


@pytest.mark.parametrize(
    ("sql", "question", "phrase"),
    [
        (CAPITAL, "what is the capital of texas", Phrase("the largest city", "SELECT city_name FROM city", ("texas",))),
        (CAPITAL, "what is the capital of texas", Phrase("the best city", "SELECT city_name FROM city", ("ohio",))),
        (CAPITAL, "what is the capital of texas", Phrase("the state of texas", LARGEST, ("ohio",))),
        (CAPITAL, "what is its capital", Phrase("the largest state", LARGEST, ("ohio",))),
        (CAPITAL.replace("=", "<>"), "capitals outside texas", Phrase("the largest state", LARGEST, ("ohio",))),
        (CAPITAL, "what is the capital of texas", Phrase("the sum", "SELECT max(state_name) FROM state", ("ohio",))),
        (
            f"{CAPITAL} AND capital = 'austin'",
            "is austin the capital of texas",
            Phrase("the largest state", LARGEST, ("ohio",)),
        ),
        (CAPITAL, "what is the capital of texas", Phrase("the state", LARGEST + " " * MAX_CHARACTERS, ("ohio",))),
    ],
)
def test_what_does_not_fit_is_left(sql: str, question: str, phrase: Phrase) -> None:
    assert join(sql, question, phrase) is None
