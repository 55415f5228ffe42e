"""The small student, its adapter and its worker, for every test of this folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from pada_agent.app.adapters.compute.local_compute import LocalCompute
from pada_agent.training.encoding import ChatEncoder
from pada_agent.training.students import Student, load_student
from tests.integration.training.small_student import CPU, ROWS, SPEC, make_model, make_tokenizer, train


@pytest.fixture(scope="module")
def student_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("student")
    make_tokenizer().save_pretrained(folder)
    make_model().save_pretrained(folder)
    return folder


@pytest.fixture
def student(student_folder: Path) -> Student:
    return load_student(str(student_folder), CPU)


@pytest.fixture
def encoder(student: Student) -> ChatEncoder:
    return ChatEncoder(student.tokenizer)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Threads wait for each other longer than these matrices take."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


@pytest.fixture(scope="module")
def adapter(student_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained until the student ends its answers."""
    student = load_student(str(student_folder), CPU)
    return train(student, tmp_path_factory.mktemp("adapter"), lora=SPEC.model_copy(update={"n_steps": 60, "rank": 8}))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows for the worker."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "rows.jsonl").write_text("".join(row.model_dump_json() + "\n" for row in ROWS))
    return folder


@pytest.fixture(scope="module")
def compute(folder: Path) -> Iterator[LocalCompute]:
    compute = LocalCompute(folder / "objects", folder / "worker.log", device="cpu", threads=1)
    yield compute
    compute.close()
