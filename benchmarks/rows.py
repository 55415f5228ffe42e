"""The rows that benchmarks use, in our tasks' own template, and the student that answers them."""

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
from pada_agent.core.raw_rows import RawRow
from pada_agent.core.records import Example
from pada_agent.evaluation.tasks.registry import make_task
from pada_agent.training.students import Student, load_student

SYSTEM = ""
"""The shortest system turn that the student's template allows, in every arm."""


def read_examples(data: Path, task: str, split: str, n_rows: int) -> list[Example]:
    """The first rows of `data/task/split.jsonl`.

    Raises:
        DatasetError: there is no such file, or it has too few rows.
    """
    path = data / task / f"{split}.jsonl"
    if not path.is_file():
        raise DatasetError(
            f"{path}: no such file. Name the folder that contains {task}/{split}.jsonl: make bench DATA=FOLDER"
        )
    reader = make_task(TaskConfig(name=task))
    with path.open(encoding="utf-8") as file:
        lines = list(itertools.islice(file, n_rows))
    if len(lines) < n_rows:
        raise DatasetError(f"{path}: {len(lines)} rows, but {n_rows} are needed")
    return [reader.read(RawRow(where=f"{path}:{i}", fields=json.loads(line))) for i, line in enumerate(lines, start=1)]


def open_student(options: Options) -> Student:
    """The student on the device to measure."""
    return load_student(str(model_store.resolve(options.student)), torch.device(options.device))


def copy_of(student: Student) -> Student:
    """A separate student for an arm that changes the model."""
    return Student(source=student.source, model=copy.deepcopy(student.model), tokenizer=student.tokenizer)


def cut(examples: list[Example], n_rows: int) -> Iterator[list[Example]]:
    """Slices of `n_rows`."""
    return (examples[i : i + n_rows] for i in range(0, len(examples), n_rows))
