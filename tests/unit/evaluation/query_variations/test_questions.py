"""A question follows its query, or no such query is made."""

import pytest

from pada_agent.evaluation.query_variations.questions import (
    find_added,
    find_dropped,
    find_recounted,
    find_turned,
    follow,
)


@pytest.mark.parametrize(
    ("question", "changes", "rough"),
    [
        ("how many people live in Texas?", [("texas", "ohio")], "how many people live in ohio?"),
        (
            "what is the population of austin texas",
            [("austin", "kansas city"), ("texas", "kansas")],
            "what is the population of kansas city kansas",
        ),
        ("is kansas in kansas city", [("kansas", "ohio")], None),
        ("is kansas larger than texas", [("kansas", "texas"), ("texas", "ohio")], "is texas larger than ohio"),
        ("who lives in winston-salem", [("salem", "austin")], None),
        ("which flights took 2.20 hours on 2020-01-20", [("20", "25")], None),
        ("which flights took 20 hours.", [("20", "25")], "which flights took 25 hours."),
        ("who is the oldest person named max", [("Max", "MIN")], "who is the oldest person named MIN"),
        ("what is in st.  john's", [("st. john's", r"a\1b")], r"what is in a\1b"),
        ("who lives in arkansas", [("kansas", "ohio")], None),
        ("what is the largest state", [("MAX", "MIN")], "what is the smallest state"),
        ("which river crosses the most states", [("DESC", "ASC")], "which river crosses the least states"),
        ("which cities are Larger than austin", [(">", "<")], "which cities are smaller than austin"),
        ("the largest city of the smallest state", [("MAX", "MIN")], None),
        ("what is the size of texas", [("area", "population")], None),
        ("what is the area of texas", [("area", "population")], "what is the population of texas"),
        ("the lowest point of ohio", [("lowest_point", "highest elevation")], "the highest elevation of ohio"),
        ("where is mount whitney", [("state_name", "altitude"), ("whitney", "bona")], None),
        ("what is the highest elevation", [("MIN", "MAX")], None),
        ("what is there", [], "what is there"),
    ],
)
def test_a_question_changes_with_its_query(question: str, changes: list[tuple[str, str]], rough: str | None) -> None:
    assert follow(question, "SELECT MIN(highest_elevation) FROM highlow", changes) == rough


@pytest.mark.parametrize(
    ("question", "was", "now", "rough"),
    [
        ("who weighs more than 70 kg", ">", "<", "who weighs fewer than 70 kg"),
        ("who has at  least 3 dogs", ">", "<", "who has at most 3 dogs"),
        ("who is below 70 kg", "<", ">", "who is above 70 kg"),
        ("what is the largest city in west virginia", "MAX", "MIN", "what is the smallest city in west virginia"),
        ("which customer has the most orders", "DESC", "ASC", "which customer has the least orders"),
        ("who weighs more than 70 kg", "DESC", "ASC", None),
        ("who is the heaviest person with at least 3 dogs", "DESC", "ASC", None),
        ("which year has the most concerts", ">", "<", None),
        ("tell me more about those of 70 kg and up", ">", "<", None),
        ("who weighs more than 70 kg, by age in descending order", ">", "<", None),
        ("the most popular people in descending order", "DESC", "ASC", None),
        ("the longest rivers between 1990 and 2000", "DESC", "ASC", None),
        ("the top film of the lowest level", "MAX", "MIN", None),
        ("the last film of the lowest level", "MAX", "MIN", None),
        ("the largest of those with area > 5", "MAX", "MIN", None),
    ],
)
def test_a_word_is_turned_only_if_it_alone_says_an_end_of_that_kind(
    question: str, was: str, now: str, rough: str | None
) -> None:
    assert follow(question, "SELECT name FROM t WHERE state_name = 'west virginia'", [(was, now)]) == rough


@pytest.mark.parametrize(
    ("question", "rough"),
    [
        ("who joined after 2018?", "who joined before 2018?"),
        ("who joined before the year 2018", "who joined after the year 2018"),
        ("who is over 2018", "who is under 2018"),
        ("who joined after Ann, in 2018", None),
        ("who joined after 2018, sorted by name", None),
        ("who joined after 2018 and has the most books", None),
        ("who joined after 2018 and left before 2018", None),
    ],
)
def test_a_limit_is_turned_only_directly_before_its_value(question: str, rough: str | None) -> None:
    assert follow(question, "SELECT name FROM member WHERE joined > 2018", [(">", "<")]) == rough


def test_people_are_young_and_things_are_new() -> None:
    sql = "SELECT name FROM t ORDER BY born"
    assert follow("who is the oldest member", sql, [("ORDER", "DESC")]) is None
    assert follow("who is the oldest member", sql, [("ASC", "DESC")]) == "who is the youngest member"
    assert (
        follow("what is the oldest book", sql.replace("born", "year"), [("ASC", "DESC")]) == "what is the newest book"
    )
    assert follow("who is the youngest", sql, [("DESC", "ASC")]) == "who is the oldest"


@pytest.mark.parametrize(
    ("question", "rough", "turned"),
    [
        ("which state has the smallest area", "what is the largest state", "smallest"),
        ("which are Higher than the highest point", "which points are lower than the highest point", "higher"),
        ("what is lower than the highest point", "which points are lower than the highest point", None),
        ("which of the largest states is smallest", "what is the smallest of the largest states", None),
        ("name the biggest state", "what is the largest state", None),
        ("who lives in texas", "who lives in ohio", None),
        ("list more of them", "which rivers are there", None),
        ("which state has the lowest density", "what state has the greatest population density", "lowest"),
        ("who has at least 6 children", "who has more than 5 children", None),
        ("who has at most 6 children", "who has at least 6 children", "at most"),
    ],
)
def test_a_question_that_turns_to_the_other_end_is_found(question: str, rough: str, turned: str | None) -> None:
    assert find_turned(question, rough) == turned


@pytest.mark.parametrize(
    ("question", "dropped"),
    [
        ("what is the summed area of the states bordering iowa", None),
        ("AREA, in total, of each state which borders Iowa", None),
        ("which states border iowa", "area"),
        ("what is the total area next to iowa", "states"),
        ("what is the total area of the states that border ohio", "iowa"),
    ],
)
def test_what_question_and_query_share_is_kept(question: str, dropped: str | None) -> None:
    rough = "what is the total area of the states that border iowa"
    sql = "SELECT SUM(state.area) FROM border_info, state WHERE border_info.state_name = 'iowa' AND state.area > 7"
    assert find_dropped(question, rough, sql) == dropped


def test_a_code_is_kept_as_a_word_of_its_own() -> None:
    rough, sql = "How many customers are there in IT?", "SELECT COUNT(*) FROM customer WHERE country = 'IT'"
    assert find_dropped("How many customers does it have?", rough, sql) == "IT"
    assert find_dropped("What is the number of customers from IT?", rough, sql) is None


@pytest.mark.parametrize(
    "column", ["UnitPrice", "unit_price", "UNIT_PRICE", '"Unit Price"', "`unit price`", "p.[Unit price]"]
)
def test_a_column_is_kept_however_its_name_is_written(column: str) -> None:
    rough = "what is the unit price of Tea"
    sql = f"SELECT {column} FROM p WHERE name = 'Tea'"
    assert find_dropped("what about Tea", rough, sql) == "unit"
    assert find_dropped("Tea: price per unit?", rough, sql) is None


@pytest.mark.parametrize(
    ("counting", "listing"),
    [
        ("how many states border iowa", "which states border iowa"),
        ("How many rivers does it cross?", "which rivers does it cross?"),
        ("tell me how many different lakes there are", "tell me which different lakes there are"),
        ("how many times was it won", None),
        ("how many lakes are in as many states as how many rivers", None),
        ("what is the number of lakes", None),
    ],
)
def test_a_question_for_a_number_becomes_one_for_a_list(counting: str, listing: str | None) -> None:
    assert follow(counting, "SELECT COUNT(name) FROM lake", (("COUNT", "LIST"),)) == listing


@pytest.mark.parametrize(
    ("listing", "counting"),
    [
        ("what states border iowa", "how many states border iowa"),
        ("which books came out after 1990", "how many books came out after 1990"),
        ("which lakes are larger than 500", "how many lakes are larger than 500"),
        ("which books did Ann write?", "how many books did Ann write?"),
        ("which books are the oldest", None),
        ("Which small towns have a lake?", "how many small towns have a lake?"),
        ("what are the major cities in iowa", "how many major cities are there in iowa"),
        ("please tell me what are all the lakes that cross it", None),
        ("tell me what are the lakes in iowa", "tell me how many lakes are there in iowa"),
        ("what is the capital of iowa", None),
        ("which class has a lake", None),
        ("what are the populations of the states", None),
        (
            "what states border the largest state",
            None,
        ),  # "how many states border the largest" could be meant in two ways
        ("name the lakes", None),
        ("welche Seen sind in Iowa", None),
    ],
)
def test_a_question_for_a_list_becomes_one_for_its_number(listing: str, counting: str | None) -> None:
    assert follow(listing, "SELECT name FROM lake", (("LIST", "COUNT"),)) == counting


@pytest.mark.parametrize(
    ("question", "rough", "sql", "wanted"),
    [
        ("which lakes are in iowa", "how many lakes are in iowa", "SELECT COUNT(name) FROM lake", "a list"),
        ("the number of lakes in iowa", "how many lakes are in iowa", "SELECT COUNT(name) FROM lake", None),
        ("how many lakes are in iowa", "which lakes are in iowa", "SELECT name FROM lake", "a number"),
        ("name the lakes in iowa", "which lakes are in iowa", "SELECT name FROM lake", None),
        ("what is the population of iowa", "how many people live in iowa", "SELECT population FROM state", None),
        ("how many people live in iowa", "what is the population of iowa", "SELECT population FROM state", None),
    ],
)
def test_a_wording_that_counts_what_is_to_be_listed_is_found(
    question: str, rough: str, sql: str, wanted: str | None
) -> None:
    assert find_recounted(question, rough, sql) == wanted


@pytest.mark.parametrize(
    ("question", "rough", "added"),
    [
        ("what are the largest cities in iowa", "what are the cities in iowa", "largest"),
        ("which state has the fewest lakes and the most people", "which state has the most people", "fewest"),
        ("what is the longest of the longest rivers", "what is the longest river", "longest"),
        ("what is the smallest city and what is its area", "what is the smallest city", "and what"),
        ("what is the greatest city", "what is the largest city", None),
        ("which cities are in iowa and ohio", "what are the cities in iowa and ohio", None),
        ("where is it and how large is it", "tell me where it is and how large it is", None),
    ],
)
def test_what_a_wording_asks_for_in_addition_is_found(question: str, rough: str, added: str | None) -> None:
    assert find_added(question, rough) == added
