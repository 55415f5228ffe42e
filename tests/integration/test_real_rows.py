"""Every row of the benchmark splits that lie beside the project, if they do."""

import json
from functools import cache
from pathlib import Path

import pytest

from pada_agent.core.config import TaskConfig
from pada_agent.core.raw_rows import RawRow
from pada_agent.core.records import Example, Prediction
from pada_agent.evaluation.contamination import find_overlap
from pada_agent.evaluation.task import Task
from pada_agent.evaluation.tasks.registry import make_task
from tests.unit.evaluation.cases import read_all

DATA = Path(__file__).parents[3] / "shared" / "data"
SPLITS = {"gsm8k": "train_1000", "arc_challenge": "train_1000", "hellaswag": "train_1000", "squad": "train_1000"}
SPLITS |= {"humaneval": "train_300"}
FORMS = [(name, "text") for name in SPLITS] + [("arc_challenge", "label"), ("hellaswag", "label")]

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"no benchmark rows in {DATA}")


@cache
def make(name: str, answers: str) -> Task:
    return make_task(TaskConfig.model_validate({"name": name, "answers": answers}))


@cache
def read(name: str, answers: str, split: str) -> list[Example]:
    lines = (DATA / name / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [RawRow(where=f"{split}.jsonl:{i}", fields=json.loads(line)) for i, line in enumerate(lines, start=1)]
    return read_all(make(name, answers), [rows])[0].examples


def words_of(text: str) -> list[str]:
    return text.replace(",", "").split()


@pytest.mark.parametrize(("name", "answers"), [form for form in FORMS if form[0] != "humaneval"])
def test_every_row_is_read_and_its_own_answer_is_right(name: str, answers: str) -> None:
    task = make(name, answers)
    for split in (SPLITS[name], "validation", "test"):
        examples = read(name, answers, split)
        assert len({e.id for e in examples}) == len(examples)
        verdicts = task.verify_all(examples, [Prediction(example_id=e.id, response=e.answer) for e in examples])
        assert [v for v in verdicts if v.value != "correct"] == []


@pytest.mark.slow
@pytest.mark.parametrize("form", ["answer", "canonical_solution"])
def test_every_canonical_solution_passes_as_trained_and_as_a_bare_body(form: str) -> None:
    for split in ("train_300", "validation", "test"):
        examples = read("humaneval", "text", split)
        lines = (DATA / "humaneval" / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
        bodies = [json.loads(line)["canonical_solution"] for line in lines]
        responses = [e.answer for e in examples] if form == "answer" else bodies
        predictions = [Prediction(example_id=e.id, response=r) for e, r in zip(examples, responses, strict=True)]
        verdicts = make("humaneval", "text").verify_all(examples, predictions)
        assert [v for v in verdicts if v.value != "correct"] == []


@pytest.mark.parametrize("name", SPLITS)
def test_an_example_composed_from_its_own_show_asks_and_answers_the_same(name: str) -> None:
    task = make(name, "text")
    for source in read(name, "text", "validation")[:100]:
        draft = {key: value for key, value in task.show(source).items() if key != "passage"}
        if name == "squad":
            draft["question"] += " (again)"
        made = task.compose(draft, source=source, given={}, example_id=source.id)
        assert isinstance(made, Example) or "fewer than 2 assert" in made.reason or "word for word" in made.reason
        if isinstance(made, Example):
            assert made.options or words_of(made.answer) == words_of(source.answer)


@pytest.mark.parametrize("name", SPLITS)
def test_no_training_question_stands_in_validation_or_test(name: str) -> None:
    held_out = read(name, "text", "validation") + read(name, "text", "test")
    overlaps = find_overlap(read(name, "text", SPLITS[name]), held_out)
    assert [o for o in overlaps if o.kind != "ngram"] == []
    assert len(overlaps) <= 3


def test_the_checks_of_written_rationales_accept_nearly_all_real_ones() -> None:
    verdicts = [make("gsm8k", "text").verify_label(e) for e in read("gsm8k", "text", "train_1000")]
    assert sum(v.value == "wrong" for v in verdicts) <= 15
    assert sum(v.value == "correct" for v in verdicts) >= 950
