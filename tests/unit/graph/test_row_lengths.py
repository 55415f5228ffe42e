"""Lengths of rows against every limit there is, known before anything is computed."""

from typing import Any

import pytest

from pada_agent.app.adapters.storage.datasets import FileDatasets
from pada_agent.core.config_files import parse_config
from pada_agent.core.errors import DatasetError, TrainingError
from pada_agent.core.records import Example, RowTokens
from pada_agent.evaluation.rows import lengths
from pada_agent.evaluation.rows.findings import stop, warn
from pada_agent.evaluation.tasks.registry import make_task
from pada_agent.graph.data_files import read_run_files
from pada_agent.graph.row_lengths import RunLengths, measure_lengths
from tests.fakes import ScriptedModel


class WordTokens:
    """`TokenCounter` of a student whose tokens are words and whose template adds two."""

    def __init__(self, context_tokens: int = 1000, problem: Exception | None = None) -> None:
        self.context_tokens = context_tokens
        self.counted: list[str] = []
        self._problem = problem

    def count(self, example: Example) -> RowTokens:
        if self._problem:
            raise self._problem
        self.counted.append(example.prompt)
        return RowTokens(prompt=self.count_text(example.prompt) + 2, answer=self.count_text(example.answer) + 1)

    def count_text(self, text: str) -> int:
        return len(text.split())

    def show(self, example: Example) -> str:
        raise NotImplementedError

    def show_learned(self, example: Example) -> str:
        raise NotImplementedError


def ask(*sizes: tuple[int, int]) -> list[dict[str, Any]]:
    """Rows with so many words in question and answer."""
    return [
        {"question": f"q{i} " + "word " * (n - 1), "answer": f"a{i}" + " word" * (m - 1)}
        for i, (n, m) in enumerate(sizes)
    ]


def measure(
    train: list[dict[str, Any]], validation: list[dict[str, Any]], tokens: WordTokens | None, **settings: Any
) -> RunLengths:
    memory = {"train": train, "validation": validation}
    data = {name: f"memory:{name}" for name in memory}
    config = parse_config({"task": {"name": "exact_match"}, "data": data, **settings}, origin="test")
    task = make_task(config.task, ScriptedModel([]))
    files = read_run_files(config, {}, datasets=FileDatasets(memory), task=task)
    return measure_lengths(config, files, task, tokens)


def test_short_rows_are_described() -> None:
    found = measure(ask((3, 1), (5, 2), (4, 1)), ask((2, 1), (2, 2)), WordTokens())
    assert found.findings == [] and found.new_tokens == 64 and found.context_tokens == 1000
    assert found.files["train"].prompt == lengths.Spread(median=6, p95=7, longest=7, longest_at="memory:train:2")
    assert found.files["validation"].answer.longest_at == "memory:validation:2"


@pytest.mark.parametrize(
    ("train", "validation", "settings", "expected"),
    [
        (
            ask((3, 1), (20, 2), (21, 2)),
            ask((2, 1), (2, 2)),
            {"lora": {"max_length": 16}},
            stop(
                "2 training rows have more tokens than lora.max_length (16): memory:train:3, memory:train:2. Raise it to 26,"
                " drop the rows, or set lora.on_too_long to truncate"
            ),
        ),
        (
            ask((3, 1), (20, 2)),
            ask((2, 1), (2, 2)),
            {"lora": {"max_length": 16, "on_too_long": "truncate"}},
            warn("1 training row will be cut at the beginning to lora.max_length (16): memory:train:2"),
        ),
        (
            ask((3, 1), (2, 20)),
            ask((2, 1), (2, 2)),
            {"lora": {"max_length": 16, "on_too_long": "truncate"}},
            stop(
                "1 training row: the answer alone has as many tokens as lora.max_length allows for a whole row (16):"
                " memory:train:2. Raise it above 21, or drop the row"
            ),
        ),
        (
            ask((3, 1), (150, 1)),
            ask((2, 1), (2, 2)),
            {},
            stop(
                "1 training row has more tokens than the student was made for (100): memory:train:2. Drop it, or set"
                " lora.max_length to 100 and lora.on_too_long to truncate"
            ),
        ),
        (
            ask((3, 1), (3, 1)),
            ask((2, 1), (50, 1)),
            {},
            stop(
                "1 row does not fit the student's context of 100 tokens: prompt and the 64 it may write"
                " (student.max_new_tokens) are up to 116: memory:validation:2. Drop it, or choose a student with a longer"
                " context"
            ),
        ),
        (
            ask((3, 1), (3, 1)),
            ask((2, 1), (2, 30)),
            {"student": {"max_new_tokens": 8}},
            warn(
                "1 of 2 right answers has more tokens than the student may write (8), the longest 30, and will be wrong"
                " however good it is: memory:validation:2. Set student.max_new_tokens to 48, or to null: then it fits the"
                " answers"
            ),
        ),
        (
            ask((3, 1), (3, 1)),
            ask((2, 9), (2, 30)),
            {"student": {"max_new_tokens": 8}},
            stop(
                "2 of 2 right answers have more tokens than the student may write (8), the longest 30, and will be wrong"
                " however good it is: memory:validation:2, memory:validation:1. Set student.max_new_tokens to 48, or to"
                " null: then it fits the answers",
                "settings",
            ),
        ),
    ],
)
def test_rows_that_fit_no_limit_are_told(
    train: list[dict[str, Any]], validation: list[dict[str, Any]], settings: dict[str, Any], expected: Any
) -> None:
    assert measure(train, validation, WordTokens(context_tokens=100), **settings).findings == [expected]


def test_the_room_for_answers_fits_them_unless_settings_say_it() -> None:
    long = ask((2, 100), (2, 3))
    assert measure(ask((3, 1), (3, 2)), long, WordTokens()).new_tokens == 120
    assert measure(long, ask((3, 1), (3, 2)), WordTokens()).new_tokens == 120
    assert measure(ask((3, 1), (3, 2)), long, WordTokens(), student={"max_new_tokens": 7}).new_tokens == 7
    assert measure(ask((3, 1), (3, 2)), long, None).new_tokens == 64


def test_one_answer_in_many_does_not_make_room_for_all() -> None:
    found = measure(ask((3, 1), (3, 2)), ask(*[(2, 2)] * 200, (2, 500)), WordTokens())
    assert found.new_tokens == 64
    assert [f.text.partition(",")[0] for f in found.findings] == [
        "1 of 201 right answers has more tokens than the student may write (64)"
    ]


def test_options_are_chosen_and_need_no_room_to_be_written() -> None:
    labels = {"a " * 90 + "x": "", "b": ""}
    rows = [{"question": f"q{i}", "answer": label} for i, label in enumerate(labels)]
    task = {"name": "multiple_choice", "labels": labels}
    found = measure(rows, rows, WordTokens(context_tokens=80), task=task, lora={"max_length": 120})
    assert [f.text.partition(":")[0] for f in found.findings] == [
        "1 training row has more tokens than the student was made for (80)",
        "2 rows do not fit the student's context of 80 tokens",
    ]


def test_rows_and_students_that_cannot_be_used_are_told() -> None:
    rows = ask((3, 1), (3, 1))
    bad_row = WordTokens(problem=DatasetError("row '0' has an empty answer"))
    assert measure(rows, rows, bad_row).findings[0].text == "memory:train:1: row '0' has an empty answer"
    bad_template = WordTokens(problem=TrainingError("the student's chat template fails"))
    assert measure(rows, rows, bad_template).findings == [stop("the student's chat template fails", "settings")]


def test_of_a_large_file_a_sample_is_counted_and_all_that_may_be_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lengths, "MAX_COUNTED", 10)
    rows = ask(*[(4, 1)] * 99, (300, 1))
    tokens = WordTokens()
    found = measure([*rows[50:], *rows[:50]], ask((2, 1), (2, 2)), tokens, lora={"max_length": 100})
    assert [f.text.partition(":")[0] for f in found.findings] == [
        "1 training row has more tokens than lora.max_length (100)"
    ]
    assert len(tokens.counted) == 10 + 1 + 2
