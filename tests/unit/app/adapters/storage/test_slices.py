"""Slices of one file: which rows they are, that they share none, and what is said of a wrong one."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pada_agent.app.adapters.storage.datasets import FileDatasets
from pada_agent.app.adapters.storage.slices import Slice
from pada_agent.app.run_folder.layout import hash_data
from pada_agent.core.config import RunConfig
from pada_agent.core.errors import DatasetError

N_ROWS = 10


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "rows [old].csv"
    path.write_text("text,label\n" + "".join(f"text {n},a\n" for n in range(N_ROWS)))
    return str(path)


def read(location: str, **options: int) -> list[str]:
    return [row.fields["text"].removeprefix("text ") for row in FileDatasets().read(location, **options)]


@pytest.mark.parametrize(
    ("cut", "expected"),
    [
        ("[:3]", "012"),
        ("[7:]", "789"),
        ("[2:4]", "23"),
        ("[-2:]", "89"),
        ("[:-8]", "01"),
        ("[:50%]", "01234"),
        ("[50%:80%]", "567"),
        ("[-20%:]", "89"),
        ("[:-4%]", "0123456789"),
        ("[:-90%]", "0"),
        ("[-200%:]", "0123456789"),
        ("[-20:2]", "01"),
        ("[8:100]", "89"),
        ("[:]", "0123456789"),
        ("", "0123456789"),
    ],
)
def test_a_slice_takes_rows_as_python_does(file: str, cut: str, expected: str) -> None:
    assert "".join(read(file + cut)) == expected


def test_slices_are_taken_after_shuffling_and_share_no_row(file: str) -> None:
    parts = [read(f"{file}{cut}", shuffle=3) for cut in ("[:60%]", "[60%:80%]", "[80%:]")]
    together = [row for part in parts for row in part]
    assert [len(part) for part in parts] == [6, 2, 2]
    assert sorted(together) == [str(n) for n in range(N_ROWS)]
    assert together != sorted(together)


@given(n_rows=st.integers(0, 1000), percent=st.integers(0, 100))
def test_percentages_from_either_end_divide_a_file_without_a_gap(n_rows: int, percent: int) -> None:
    rows = range(n_rows)
    first, rest = Slice(stop=f"{percent}%").take(rows), Slice(start=f"-{100 - percent}%").take(rows)
    assert [*first, *rest] == [*rows]


def test_a_limit_takes_rows_from_the_top_of_the_slice(file: str) -> None:
    assert read(f"{file}[5:]", limit=2) == ["5", "6"]
    assert read(f"{file}[5:]", limit=2, shuffle=3) == read(f"{file}[5:]", shuffle=3)[:2]


def test_a_row_is_named_by_its_line_in_the_file(file: str) -> None:
    assert FileDatasets().read(f"{file}[5:]")[0].where == f"{file}:7"


def test_a_server_counts_the_rows_of_the_whole_file(file: str) -> None:
    """Otherwise a slice of percentages could not be taken."""
    datasets = FileDatasets(workspace=Path(file).parent, max_rows=5)
    with pytest.raises(DatasetError, match="more than 5 rows are not accepted here"):
        datasets.read(f"{Path(file).name}[:20%]")


@pytest.mark.parametrize("cut", ["[10:]", "[-0:]", "[-4%:]", "[5:5]", "[:0]", "[:0%]", "[8:2]"])
def test_an_empty_slice_says_how_many_rows_there_are(file: str, cut: str) -> None:
    with pytest.raises(DatasetError) as caught:
        read(file + cut)
    assert str(caught.value) == f"{file}{cut}: the slice is empty, because the file has 10 rows"


@pytest.mark.parametrize("cut", ["[3]", "[a:b]", "[1:2:3]", "[:50 %]", "[:%]", "[-:3]", "[0.5:]"])
def test_what_only_looks_like_a_slice_says_how_one_is_written(file: str, cut: str) -> None:
    with pytest.raises(DatasetError, match=r"no such file .*\. A slice is written like \[:100\]"):
        read(file + cut)


def test_the_record_of_a_run_has_the_hash_of_the_whole_file(file: str) -> None:
    data = {"train": f"{file}[:60%]", "validation": f"{file}[60%:]"}
    found = hash_data(RunConfig.model_validate({"data": data, "task": {"name": "exact_match"}}))
    assert set(found) == set(data.values())
    assert len(set(found.values())) == 1
