"""Parquet files and hub data sets: the names of classes are obeyed, and every failure is one error."""

import datetime
import decimal
import gzip
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pada_agent.app.adapters.storage.datasets import FileDatasets
from pada_agent.core.errors import DatasetError
from pada_agent.core.hub_revisions import ROWS

NAMES = ["World", "Sports"]


def save(path: Path, columns: dict[str, Any], features: dict[str, Any] | None = None) -> str:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pyarrow.table(columns)
    if features:
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    parquet.write_table(table, path)
    return str(path)


def test_class_numbers_of_parquet_become_the_names_of_the_classes(tmp_path: Path) -> None:
    label = {"names": NAMES, "_type": "ClassLabel"}
    location = save(
        tmp_path / "t.parquet",
        {"text": ["a", "b", "c"], "label": [1, 0, -1], "tags": [[0, 1], [], [1]], "n": [0, 1, 2]},
        {
            "text": {"dtype": "string", "_type": "Value"},
            "label": label,
            "tags": {"feature": label, "_type": "Sequence"},
        },
    )
    fields = [row.fields for row in FileDatasets().read(location)]
    assert [f["label"] for f in fields] == ["Sports", "World", -1]
    assert [f["tags"] for f in fields] == [["World", "Sports"], [], ["Sports"]]
    assert [f["n"] for f in fields] == [0, 1, 2]


@pytest.mark.parametrize("features", [None, {"label": {"_type": "Value"}}, {"label": {"names": None}}, {"label": "?"}])
def test_numbers_without_names_stay(tmp_path: Path, features: dict[str, Any] | None) -> None:
    location = save(tmp_path / "t.parquet", {"label": [1, 0]}, features)
    assert [row.fields["label"] for row in FileDatasets().read(location)] == [1, 0]


def test_parquet_may_be_packed_and_hold_any_type(tmp_path: Path) -> None:
    columns = {
        "d": [decimal.Decimal("12.50")],
        "t": [datetime.date(2026, 5, 1)],
        "l": [["a"]],
        "b": [b"x"],
        "y": [True],
    }
    path = Path(save(tmp_path / "t.parquet", columns))
    packed = tmp_path / "t.parquet.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    (row,) = FileDatasets().read(str(packed))
    assert row.fields == {name: values[0] for name, values in columns.items()}
    with pytest.raises(DatasetError, match="bytes after unpacking are not accepted here"):
        FileDatasets(max_file_bytes=packed.stat().st_size).read(str(packed))


class HubRows(list[dict[str, Any]]):
    features: dict[str, Any] | None = None

    def select(self, indices: range) -> "HubRows":
        return HubRows(self[i] for i in indices)


def serve(monkeypatch: pytest.MonkeyPatch, answer: Any) -> list[tuple[Any, ...]]:
    """Stand in for the hub's library; gives or raises `answer`."""
    asked: list[tuple[Any, ...]] = []

    def load_dataset(*place: Any, **options: Any) -> Any:
        asked.append((*place, options))
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    return asked


def test_class_numbers_of_the_hub_become_the_names_of_the_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = HubRows([{"text": "a", "label": 1}, {"text": "b", "label": 0}])
    rows.features = {"text": SimpleNamespace(dtype="string"), "label": SimpleNamespace(names=NAMES)}
    serve(monkeypatch, rows)
    assert [row.fields["label"] for row in FileDatasets().read("hub:me/news/train")] == ["Sports", "World"]
    rows.features = {"label": SimpleNamespace(feature=SimpleNamespace(names=NAMES))}
    assert FileDatasets().read("hub:me/news/train", limit=1)[0].fields["label"] == "Sports"


@pytest.mark.parametrize(
    ("location", "asked"),
    [
        ("hub:me/news/train", ("me/news", None, {"split": "train"})),
        ("hub:me/news:en/train", ("me/news", "en", {"split": "train"})),
        ("hub:me/news/train[:10%]", ("me/news", None, {"split": "train[:10%]"})),
        ("hub:me/news@v2/test", ("me/news", None, {"split": "test", "revision": "v2"})),
        ("hub:me/news@refs/convert/parquet:en/test", ("me/news", "en", {"split": "test", "revision": "refs/convert/parquet"})),
    ],
)  # fmt: skip
def test_a_hub_location_names_configuration_and_revision(
    monkeypatch: pytest.MonkeyPatch, location: str, asked: tuple[Any, ...]
) -> None:
    calls = serve(monkeypatch, HubRows([{"q": 1}]))
    FileDatasets().read(location)
    assert calls == [asked]


@pytest.mark.parametrize("location", ["hub:news/train", "hub:me/news", "hub:me/news:en", "hub:me/news@/train", "hub:"])
def test_a_hub_location_that_is_incomplete_is_refused(location: str) -> None:
    assert not ROWS.fullmatch(location)
    with pytest.raises(DatasetError, match=f"{location}: expected hub:owner/name/split, hub:owner/name:config/split"):
        FileDatasets().read(location)


class GenerationError(Exception):
    """As `datasets` raises them: of no base that is shared with others."""


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        (RuntimeError("Dataset scripts are no longer supported, but found news.py"), "it is a script, and scripts are not run. Many data sets have a Parquet copy"),
        (GenerationError("An error occurred while generating the dataset"), "An error occurred while generating the dataset. Check the name"),
        (KeyError("dev"), "'dev'. Check the name, the split and the network"),
        (ValueError("Config name is missing.\nPick one: ['en', 'de']"), r"Config name is missing. Pick one: \['en', 'de'\] Name one: hub:owner/name:config/split"),
        (ConnectionError("no route"), "no route. Check the name, the split and the network"),
        (TimeoutError(), "TimeoutError. Check the name"),
    ],
)  # fmt: skip
def test_every_failure_of_the_hub_is_one_error(
    monkeypatch: pytest.MonkeyPatch, failure: Exception, message: str
) -> None:
    serve(monkeypatch, failure)
    with pytest.raises(DatasetError, match=f"hub:me/news/train: cannot be loaded: {message}"):
        FileDatasets().read("hub:me/news/train")


def test_the_cause_of_a_failure_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    failure = GenerationError("An error occurred")
    failure.__cause__ = ValueError("Expected 2 fields in line 3, saw 1")
    serve(monkeypatch, failure)
    with pytest.raises(DatasetError, match=r"An error occurred \(Expected 2 fields in line 3, saw 1\)"):
        FileDatasets().read("hub:me/news/train")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"s.py": "import datasets"}, "cannot be loaded: it is a script"),
        ({"train.csv": 'q,a\n"a,x\nb,y\n'}, "cannot be loaded"),
        ({"train.jsonl": '{"q": "a"}\n', "train2.jsonl": '{"z": "a"}\n'}, "cannot be loaded"),
        ({"test.jsonl": '{"q": "a"}\n'}, "cannot be loaded: .*train"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_the_real_library_fails_with_one_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], message: str
) -> None:
    pytest.importorskip("datasets")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    folder = tmp_path / "me" / "s"
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_text(content)
    with pytest.raises(DatasetError, match=f"hub:me/s/train: {message}"):
        FileDatasets().read("hub:me/s/train")


def test_with_a_seed_slices_of_one_split_are_samples_that_share_no_row(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = serve(monkeypatch, HubRows({"n": n} for n in range(100)))

    def take(cut: str, shuffle: int | None = 7, limit: int | None = None) -> list[int]:
        return [row.fields["n"] for row in FileDatasets().read(f"hub:me/news/train{cut}", limit=limit, shuffle=shuffle)]

    first, second, rest = take("[:10]"), take("[10:40]"), take("[40%:]")
    assert sorted([*first, *second, *rest]) == list(range(100)) and first + second + rest == take("")
    assert first != sorted(first) and take("[:10]", 8) != first and take("[:10]", limit=4) == first[:4]
    assert take("[-60:]") == rest
    assert {options["split"] for *_, options in asked} == {"train"}
    row = FileDatasets().read("hub:me/news/train[:10]", shuffle=7)[0]
    assert row.where == f"hub:me/news/train[:10]:{first[0] + 1}", "the place is that in the whole split"
    with pytest.raises(DatasetError, match=r"with data\.shuffle, one split with one slice is expected"):
        take("+test")


def test_numbers_of_32_and_16_bits_have_the_digits_that_were_written(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    half = [None if x is None else np.float16(x) for x in (0.1, 19.98, 3.3, None, -0.007, 2048.0, 0.5, 1.5)]
    written = [0.1, 19.99, 3.3, None, -0.007, 16777216.0, 123456792.0, float("inf")]
    columns = {
        "single": pyarrow.array(written, pyarrow.float32()),
        "half": pyarrow.array(half, pyarrow.float16()),
        "double": pyarrow.array([0.1 + 0.2] * 8, pyarrow.float64()),
        "options": pyarrow.array([[0.1, None], [], None, [19.99]] * 2, pyarrow.list_(pyarrow.float32())),
        "nested": pyarrow.array(
            [{"value": 0.7, "n": 1}, None] * 4,
            pyarrow.struct([("value", pyarrow.float32()), ("n", pyarrow.int64())]),
        ),
    }
    fields = [row.fields for row in FileDatasets().read(save(tmp_path / "t.parquet", columns))]
    assert [f["single"] for f in fields] == written
    assert [f["half"] for f in fields] == [0.1, 19.98, 3.3, None, -0.007, 2048.0, 0.5, 1.5]
    assert fields[0]["double"] == 0.1 + 0.2
    assert [f["options"] for f in fields[:4]] == [[0.1, None], [], None, [19.99]]
    assert [f["nested"] for f in fields[:2]] == [{"value": 0.7, "n": 1}, None]


def test_numbers_of_32_bits_on_the_hub_have_the_digits_that_were_written(monkeypatch: pytest.MonkeyPatch) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    rows = HubRows([{"q": "a", "price": 0.10000000149011612}])
    schema = pyarrow.schema([("q", pyarrow.string()), ("price", pyarrow.float32())])
    rows.features = type("Features", (dict,), {"arrow_schema": schema})(q=None, price=None)
    serve(monkeypatch, rows)
    assert FileDatasets().read("hub:me/prices/train")[0].fields["price"] == 0.1
