"""The files of a run are read together: one reading, all rows kept, and what a person should know."""

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from pydantic import BaseModel

from pada_agent.app.adapters.storage.artifacts import FileArtifactStore
from pada_agent.app.adapters.storage.datasets import FileDatasets
from pada_agent.core.config_files import parse_config
from pada_agent.core.errors import ConfigError, DatasetError
from pada_agent.core.memory import Memory
from pada_agent.core.records import Example
from pada_agent.evaluation.rows.reading import ReadFile
from pada_agent.evaluation.tasks.registry import make_task
from pada_agent.graph.data_check import refuse, tell_problems
from pada_agent.graph.data_files import FileName, count_labels_further_down, read_run_files, warn_about
from pada_agent.graph.nodes.prepare import store_splits
from pada_agent.graph.run_check import check_everything
from pada_agent.prompts.prompted_model import PromptedModel
from tests.fakes import MemoryDatasets, ScriptedModel
from tests.toy_world import WordCountEmbedder

Rows = list[dict[str, Any]]


def ask(split: str, n: int, **fields: Any) -> Rows:
    """Rows that differ by split and number; ids count from 0 in every file."""
    texts = [f"{split} speaks of subject {i * 13 + len(split)}" for i in range(n)]
    return [{"id": i, "question": text, "answer": ["yes", "no"][i % 2], **fields} for i, text in enumerate(texts)]


def read(memory: dict[str, Rows], given: dict[str, Any] | None = None, **task: Any) -> dict[FileName, ReadFile]:
    data = {name: f"memory:{name}" for name in memory}
    config = parse_config({"task": {"name": "exact_match", **task}, "data": data}, origin="test")
    made = make_task(config.task, PromptedModel(ScriptedModel([])))
    files, problems = read_run_files(config, given or {}, datasets=MemoryDatasets(memory), task=made)
    refuse(tell_problems(problems))
    return files


def split(folder: Path, memory: dict[str, Rows], **settings: Any) -> dict[str, list[Example]]:
    data = {**{name: f"memory:{name}" for name in memory}, **settings.pop("data", {})}
    config = parse_config({"task": {"name": "exact_match"}, "data": data, **settings}, origin="test")
    task, store = make_task(config.task, PromptedModel(ScriptedModel([]))), FileArtifactStore(folder)
    adapters: Any = SimpleNamespace(
        datasets=MemoryDatasets(memory),
        task=task,
        store=store,
        tokens=None,
        embedder=WordCountEmbedder(),
        memory=Memory(),
    )
    checked = check_everything(config, {}, adapters)
    refuse(checked.findings)
    found = store_splits(config, checked, adapters)
    refs = {"train": found.train, "validation": found.validation, "test": found.test, "held_back": found.held_back}
    return {name: store.read_rows(ref.key, Example) for name, ref in refs.items() if ref}


def test_labels_are_settled_from_all_files() -> None:
    labels = ["1 star", "2 stars", "3 stars"]
    rows = {"train": [1, 2], "validation": [2, 1], "test": [0, 2]}
    memory = {name: [{"question": f"{name} {i}", "label": v} for i, v in enumerate(vs)] for name, vs in rows.items()}
    files = read(memory, labels=labels)
    assert [e.answer for e in files["train"].examples] == ["2 stars", "3 stars"]
    assert files["validation"].understood.gold == "the right option is given as a position from 0"
    del memory["test"]
    with pytest.raises(DatasetError, match=r"memory:train:1: field 'label' is 1, which as a position from 0"):
        read(memory, labels=labels)


def test_rows_of_the_input_take_the_place_of_files() -> None:
    files = read({"validation": ask("v", 2)}, {"train": [{"prompt": "Open?", "completion": "Yes."}]})
    assert files["train"].examples[0].prompt == "Open?" and files["train"].wheres == ["input.train:1"]
    with pytest.raises(ConfigError, match=r"data.train: no rows given. Set it to a \.jsonl, \.json, \.csv"):
        read({"validation": ask("v", 2)})


def test_ids_that_files_share_eat_no_rows(tmp_path: Path) -> None:
    sizes = {"train": 12, "validation": 8, "test": 4, "held_back": 10}
    rows = split(tmp_path, {name: ask(name, n) for name, n in sizes.items()}, generation={"sources": "held_back"})
    assert {name: len(found) for name, found in rows.items()} == sizes
    assert not {e.id for e in rows["train"]} & {e.id for e in rows["held_back"]}


def test_ids_that_a_file_repeats_eat_no_rows(tmp_path: Path) -> None:
    train = [{**row, "id": row["id"] // 3} for row in ask("train", 9)]
    memory = {"train": train, "validation": ask("validation", 4)}
    rows = split(tmp_path, memory, generation={"sources": "held_back"}, data={"train_limit": 5})
    assert (len(rows["train"]), len(rows["held_back"])) == (5, 4)
    assert len({e.id for e in rows["train"] + rows["held_back"]}) == 9


def talk(last: str) -> dict[str, Any]:
    said = [("user", "Hi"), ("assistant", "Hello."), ("user", last), ("assistant", "Yes.")]
    return {"messages": [{"role": role, "content": text} for role, text in said]}


def test_every_answer_of_training_conversations_can_be_learned(tmp_path: Path) -> None:
    memory = {"train": [talk("Open?"), talk("Far?")], "validation": [talk("0?"), talk("1?")]}
    rows = split(tmp_path, memory, task={"name": "exact_match", "turns": "all"})
    assert [e.prompt for e in rows["train"]] == ["Hi", "Open?", "Hi", "Far?"], "a greeting may repeat"
    assert sorted(e.prompt for e in rows["validation"]) == ["0?", "1?"]
    assert [e.prompt for e in split(tmp_path, memory)["train"]] == ["Open?", "Far?"]


def test_what_was_not_read_is_a_warning() -> None:
    files = read({"train": ask("train", 2, source="web"), "validation": ask("validation", 2, answer="None")})
    assert warn_about(files) == [
        "memory:train: columns that are not used: source",
        "memory:validation: 2 answers are 'None': drop the rows if that is an empty cell",
    ]


def test_of_many_columns_that_are_not_used_the_first_are_named() -> None:
    many = {f"c{i}": i for i in range(3_000)}
    files = read({"train": ask("train", 2, **many), "validation": ask("validation", 2)})
    first = ", ".join(f"c{i}" for i in range(12))
    assert warn_about(files) == [f"memory:train: columns that are not used: {first}, …"]


def test_rows_beyond_the_limit_are_not_read(tmp_path: Path) -> None:
    memory = {"train": [*ask("train", 3), {"id": 3, "question": None}], "validation": ask("validation", 2)}
    assert len(split(tmp_path, memory, data={"train_limit": 3})["train"]) == 3
    with pytest.raises(DatasetError, match=r"memory:train:4: field 'question' is empty"):
        split(tmp_path, memory)


def test_shuffled_files_give_samples_where_a_limit_takes_the_top(tmp_path: Path) -> None:
    memory = {"train": ask("t", 40), "validation": ask("v", 40), "test": ask("held", 40)}
    limits = {f"{name}_limit": 10 for name in memory}
    in_order = split(tmp_path, memory, data=limits)
    drawn = split(tmp_path, memory, data={**limits, "shuffle": 3})
    for name in memory:
        top, taken = ({int(e.id) for e in rows[name]} for rows in (in_order, drawn))
        assert top == set(range(10)) and len(taken) == 10 and max(taken) > 20
    assert (
        split(tmp_path, memory, data={**limits, "shuffle": 3}) == drawn != split(tmp_path, memory, data={"shuffle": 4})
    )


def test_rows_of_the_input_are_shuffled_like_those_of_files() -> None:
    rows = ask("v", 40)
    taken = [row.fields["id"] for row in FileDatasets().accept(rows, location="input.test", limit=5, shuffle=1)]
    assert len(taken) == 5 and taken != list(range(5))
    assert taken == [row.fields["id"] for row in MemoryDatasets({"v": rows}).read("memory:v", limit=5, shuffle=1)]


def test_labels_below_a_limit_are_counted_by_what_the_rows_above_it_show() -> None:
    rows: Rows = [{"question": f"subject {i}", "answer": n} for i, n in enumerate([0, 0, 0, 1, 2, 2])]
    settings = {"task": {"labels": ["a", "b", "c"]}, "data": {"train": "memory:train", "train_limit": 3}}
    config = parse_config(settings, origin="test")
    task, datasets = make_task(config.task), MemoryDatasets({"train": rows})
    assert count_labels_further_down(config, {}, datasets=datasets, task=task) == {"train": {"c": 2, "b": 1}}


@pytest.mark.parametrize("given", [Path("rows.jsonl"), {"question": ["a"]}, np.array([1, 2])])
def test_input_that_is_no_list_of_rows_is_refused_and_not_passed_over(given: Any) -> None:
    memory = {"train": ask("train", 3), "validation": ask("validation", 2)}
    for name in ("train", "validation", "test"):
        with pytest.raises(
            ConfigError, match=rf"input\.{name}: expected a location as text, or a list of rows, but found"
        ):
            read(memory, {name: given})


class TypedRow(BaseModel):
    question: str
    answer: str


@dataclass
class PlainRow:
    question: str
    answer: str


def test_rows_of_the_input_may_be_objects_and_hold_messages_of_langchain() -> None:
    chat = {"messages": [SystemMessage("Be short."), HumanMessage("How many?"), AIMessage("three")]}
    rows = {
        "train": [chat],
        "validation": [TypedRow(question="Which?", answer="red")],
        "test": [PlainRow("Why?", "so")],
    }
    files = read({"validation": []}, rows)
    assert [row.answer for file in files.values() for row in file.examples] == ["three", "red", "so"]
    assert "How many?" in files["train"].examples[0].prompt


def test_rows_of_the_input_may_hold_what_numpy_and_pandas_make_of_them() -> None:
    rows = (
        {"question": "Which fit?", "answers": np.array(["red", "blue"]), 7: "more"},
        {"question": np.str_("How many?"), "answers": np.int64(3)},
        {"question": "What share?", "answers": np.float32(0.1)},
    )
    files = read({"validation": ask("validation", 2)}, {"train": rows})
    assert [row.answer for row in files["train"].examples] == ["red", "3", "0.1"]
    assert files["train"].examples[0].reference["answers"] == ["red", "blue"]
