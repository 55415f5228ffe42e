"""A question follows its query as far as code can change it, and what is left is told."""

import pytest

from pada_agent.evaluation.tasks.sql_questions import follow


@pytest.mark.parametrize(
    ("question", "changes", "rough", "left"),
    [
        ("how many people live in Texas?", [("texas", "ohio")], "how many people live in ohio?", []),
        (
            "what is the population of austin texas",
            [("austin", "kansas city"), ("texas", "kansas")],
            "what is the population of kansas city kansas",
            [],
        ),
        ("is kansas in kansas city", [("kansas", "kansas city")], "is kansas city in kansas city city", []),
        ("what is the largest state", [("MAX", "MIN")], "what is the smallest state", []),
        ("which river crosses the most states", [("DESC", "ASC")], "which river crosses the least states", []),
        ("which cities are Larger than austin", [(">", "<")], "which cities are smaller than austin", []),
        ("the largest city of the smallest state", [("MAX", "MIN")], None, [("MAX", "MIN")]),
        ("what is the size of texas", [("area", "population")], None, [("area", "population")]),
        ("what is the area of texas", [("area", "population")], "what is the population of texas", []),
        ("what is the lowest point of ohio", [("lowest_point", "highest_elevation")], "what is the highest elevation of ohio", []),
        ("where is mount whitney", [("state_name", "altitude"), ("whitney", "bona")], "where is mount bona", [("state_name", "altitude")]),
        ("what is in st.  john's", [("st. john's", r"a\1b")], r"what is in a\1b", []),
        ("who lives in arkansas", [("kansas", "ohio")], None, [("kansas", "ohio")]),
        ("what is there", [], None, []),
    ],
)  # fmt: skip
def test_what_code_can_change_is_changed(
    question: str, changes: list[tuple[str, str]], rough: str | None, left: list[tuple[str, str]]
) -> None:
    assert follow(question, changes) == (rough or question, tuple(left))
