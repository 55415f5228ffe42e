"""A question follows its query, or no such query is made."""

import pytest

from pada_agent.evaluation.tasks.sql_questions import find_dropped, find_turned, follow


@pytest.mark.parametrize(
    ("question", "changes", "rough"),
    [
        ("how many people live in Texas?", [("texas", "ohio")], "how many people live in ohio?"),
        (
            "what is the population of austin texas",
            [("austin", "kansas city"), ("texas", "kansas")],
            "what is the population of kansas city kansas",
        ),
        ("is kansas in kansas city", [("kansas", "kansas city")], "is kansas city in kansas city city"),
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
