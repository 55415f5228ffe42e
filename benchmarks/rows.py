"""The rows that are measured on, in our tasks' own template, and the student that answers them."""

import copy
import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import torch

from benchmarks.measuring import Options
from pada_agent.app.adapters.storage import model_store
from pada_agent.core.config import TaskConfig
from pada_agent.core.errors import DatasetError
from pada_agent.core.ports import RawRow
from pada_agent.core.records import Example
from pada_agent.evaluation.tasks.registry import make_task
from pada_agent.training.students import Student, load_student

SYSTEM = ""
"""The shortest system turn the student's template allows, in every arm."""


def read_examples(data: Path, task: str, split: str, n_rows: int) -> list[Example]:
    """The first rows of `data/task/split.jsonl`.

    Raises:
        DatasetError: no such file, or not that many rows.
    """
    path = data / task / f"{split}.jsonl"
    if not path.is_file():
        raise DatasetError(
            f"{path}: not there. Give the folder that holds {task}/{split}.jsonl: make bench DATA=FOLDER"
        )
    reader = make_task(TaskConfig(name=task))
    with path.open(encoding="utf-8") as file:
        lines = list(itertools.islice(file, n_rows))
    if len(lines) < n_rows:
        raise DatasetError(f"{path}: {len(lines)} rows, {n_rows} are needed")
    return [reader.read(RawRow(where=f"{path}:{i}", fields=json.loads(line))) for i, line in enumerate(lines, start=1)]


def open_student(options: Options) -> Student:
    """The student on the device that is measured."""
    return load_student(str(model_store.resolve(options.student)), torch.device(options.device))


def copy_of(student: Student) -> Student:
    """A student of its own for an arm that changes the model."""
    return Student(source=student.source, model=copy.deepcopy(student.model), tokenizer=student.tokenizer)


def cut(examples: list[Example], n_rows: int) -> Iterator[list[Example]]:
    """Slices of `n_rows`."""
    return (examples[i : i + n_rows] for i in range(0, len(examples), n_rows))
