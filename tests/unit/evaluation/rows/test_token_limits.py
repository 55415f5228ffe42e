"""Rows against the student's limits; a token is a word here."""

from collections.abc import Mapping
from typing import Any

import pytest

from pada_agent.core.config import RunConfig
from pada_agent.core.errors import DatasetError
from pada_agent.core.jobs import LoraSpec
from pada_agent.core.records import Example
from pada_agent.evaluation.rows.reading import ReadFile, Understood
from pada_agent.evaluation.rows.token_limits import Lengths, check_lengths, explain_unlearnable
from tests.fakes import WordCounter


def words(n: int) -> str:
    return " ".join(["word"] * n)


def row(prompt: int, answer: int, *options: str) -> Example:
    """A row of so many words."""
    return Example(id="r", prompt=words(prompt), answer=words(answer), options=options)


def a_file(name: str, *rows: Example) -> ReadFile:
    wheres = [f"{name}:{i}" for i, _ in enumerate(rows, start=1)]
    return ReadFile(list(rows), wheres, Understood(location=name, n_rows=len(rows), form="", columns={}))


def check(files: Mapping[str, ReadFile], *, context: int = 512, task_limit: int = 64, **config: Any) -> Lengths:
    return check_lengths(
        files,
        tokens=WordCounter(context),
        config=RunConfig.model_validate(config),
        task_limit=task_limit,
        learned=("train",),
        asked=("validation",),
    )


def stops(lengths: Lengths) -> list[str]:
    return [finding.text for finding in lengths.findings if finding.stops]


def warnings(lengths: Lengths) -> list[str]:
    return [finding.text for finding in lengths.findings if not finding.stops]


@pytest.mark.parametrize(
    ("lora", "context", "lengths", "message"),
    [
        ({"max_length": 12}, 512, (8, 3), ""),
        (
            {"max_length": 12},
            512,
            (9, 3),
            "t:2: too long to be trained on, with up to 13 tokens (4 in an answer), and 12 is the limit (lora.max_length)."
            " Set lora.max_length to 13 or more, or drop the rows, or set lora.on_too_long to truncate",
        ),
        ({"max_length": 12, "on_too_long": "truncate"}, 512, (90, 10), ""),
        (
            {"max_length": 12, "on_too_long": "truncate"},
            512,
            (1, 11),
            "t:2: too long to be trained on, with up to 13 tokens (12 in an answer), and 12 is the limit (lora.max_length)."
            " Set lora.max_length to 13 or more, or drop the rows.",
        ),
        ({"max_length": 1024}, 100, (90, 9), ""),
        (
            {"max_length": 1024},
            100,
            (91, 9),
            "t:2: too long to be trained on, with up to 101 tokens (10 in an answer), and 100 is the limit"
            " (the student's context). Drop the rows, or set lora.on_too_long to truncate",
        ),
    ],
)
def test_rows_that_cannot_be_learned_are_told_by_file_and_line(
    lora: dict[str, Any], context: int, lengths: tuple[int, int], message: str
) -> None:
    found = check({"train": a_file("t", row(1, 1), row(*lengths))}, context=context, lora=lora)
    assert " ".join(stops(found)).startswith(message) and bool(stops(found)) == bool(message)


def test_a_synthetic_row_is_refused_by_the_same_rule_with_a_reason_for_its_writer() -> None:
    lora, tokens = LoraSpec(max_length=12), WordCounter(512)
    assert explain_unlearnable(row(8, 3), tokens=tokens, lora=lora) is None
    reason = "too long for the student: 13 tokens, 4 of them the answer, and 12 are the limit. Write it shorter"
    assert explain_unlearnable(row(9, 3), tokens=tokens, lora=lora) == reason
    assert "has an empty answer" in str(explain_unlearnable(row(1, 0), tokens=tokens, lora=lora))
    assert explain_unlearnable(row(900, 3), tokens=None, lora=lora) is None


def test_rows_that_cannot_be_learned_for_another_reason_are_told_in_one_line() -> None:
    found = check({"train": a_file("t", row(1, 1), row(1, 0), row(1, 0))})
    (told,) = stops(found)
    assert told.startswith("t:2: ") and "has an empty answer" in told and told.endswith("(2 rows like this: 2, 3)")


def test_held_out_rows_may_have_empty_answers_and_more_tokens_than_are_learned() -> None:
    assert stops(check({"validation": a_file("v", row(100, 0))}, lora={"max_length": 12})) == []


@pytest.mark.parametrize(
    ("row", "student", "message"),
    [
        (row(36, 3), {}, ""),
        (
            row(37, 3),
            {},
            "v:1: up to 101 tokens with 64 for the answer (student.max_new_tokens), and the student's context is 100."
            " Shorten the rows, or drop them, or set student.max_new_tokens to 63 or less.",
        ),
        (row(37, 3), {"max_new_tokens": 63}, ""),
        (row(100, 3), {"max_new_tokens": 1}, "v:1: up to 101 tokens with 1 for the answer"),
        (row(97, 3, "a", words(3)), {}, ""),
        (
            row(98, 3, "a", words(3)),
            {},
            "v:1: up to 101 tokens with the longest option, and the student's context is 100."
            " Shorten the rows, or drop them.",
        ),
    ],
)
def test_rows_that_leave_no_room_for_an_answer_are_told(row: Example, student: dict[str, Any], message: str) -> None:
    found = check({"validation": a_file("v", row)}, context=100, student=student)
    assert " ".join(stops(found)).startswith(message) and bool(stops(found)) == bool(message)


def test_training_rows_have_to_leave_room_only_where_they_are_answered() -> None:
    files = {"train": a_file("t", row(60, 3)), "validation": a_file("v", row(1, 1))}
    assert stops(check(files, context=100)) == []
    kept = {"tokens": WordCounter(100), "config": RunConfig(), "task_limit": 64, "learned": ("train",)}
    (problem,) = stops(check_lengths(files, asked=("train", "validation"), **kept))
    assert problem.startswith("t:1: up to 124 tokens with 64 for the answer")


@pytest.mark.parametrize(
    ("answers", "labels", "limit"),
    [
        ((3, 5), (), 64),
        ((3, 63), (), 64),
        ((3, 64), (), 96),
        ((3, 100), (), 128),
        ((3, 100_000), (), 502),
        ((3, 5), (words(79),), 112),
    ],
)
def test_the_limit_fits_the_right_answers(answers: tuple[int, int], labels: tuple[str, ...], limit: int) -> None:
    files = {"train": a_file("t", row(10, answers[0])), "validation": a_file("v", row(10, answers[1]))}
    task = {"name": "multiple_choice", "labels": list(labels)} if labels else {}
    found = check(files, task=task)
    assert found.max_new_tokens == limit
    cut = answers[1] > limit
    assert bool(warnings(found)) == cut and ("no more fit into its context" in "".join(warnings(found))) == cut


def test_options_are_weighed_so_they_need_no_room_to_be_written() -> None:
    assert check({"validation": a_file("v", row(1, 200, "a", words(200)))}).max_new_tokens == 64


def test_a_limit_in_settings_stays_and_what_it_cuts_is_told() -> None:
    found = check({"validation": a_file("v", row(1, 9), row(1, 10), row(1, 20))}, student={"max_new_tokens": 10})
    assert (found.max_new_tokens, stops(found)) == (10, [])
    assert warnings(found) == [
        "v:2, v:3: the right answer has up to 21 tokens, and the student may write 10 (student.max_new_tokens):"
        " set it to null, or to 21 or more"
    ]


def test_what_a_person_should_know_about_the_template_is_a_warning() -> None:
    class Odd(WordCounter):
        warnings = ("the template is odd",)

    files = {"validation": a_file("v", row(1, 1))}
    found = check_lengths(
        files, tokens=Odd(9), config=RunConfig(), task_limit=4, learned=("train",), asked=("validation",)
    )
    assert (warnings(found), stops(found)) == (["the template is odd"], [])


def test_many_rows_are_counted() -> None:
    (problem,) = stops(check({"train": a_file("t", *[row(99, 9)] * 8)}, lora={"max_length": 50}))
    assert problem.startswith("t:1, t:2, t:3, t:4, t:5 and 3 more: too long to be trained on")


def test_the_counter_of_these_tests_refuses_as_the_students_does() -> None:
    with pytest.raises(DatasetError):
        WordCounter(1).count(row(1, 0))
