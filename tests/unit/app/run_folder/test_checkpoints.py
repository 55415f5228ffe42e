"""Checkpoints that cannot be used: why, and what to do."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.sqlite import SqliteSaver

from pada_agent.app.run_folder.checkpoints import THREAD_ID, make_serializer, open_checkpoints, read_state
from pada_agent.app.run_folder.versions import find_commit, find_version
from pada_agent.core.errors import ArtifactError
from pada_agent.core.records import Ref


def save(path: Path, **values: object) -> None:
    """Save them as the last state of the run in `path`."""
    with SqliteSaver.from_conn_string(str(path)) as saver:
        checkpoint = empty_checkpoint() | {"channel_values": values, "channel_versions": dict.fromkeys(values, 1)}
        thread = {"configurable": {"thread_id": THREAD_ID, "checkpoint_ns": ""}}
        saver.put(thread, checkpoint, {}, dict.fromkeys(values, 1))


def write_manifest(folder: Path, commit: str | None) -> None:
    packages = {"pada-agent": find_version("pada-agent")}
    (folder / "manifest.json").write_text(json.dumps({"packages": packages, "commit": commit}))


def test_a_state_is_read_where_nothing_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "checkpoints.sqlite"
    save(path, iteration=3)
    path.with_name("checkpoints.sqlite-wal").mkdir()  # so that no log can be made there
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert read_state(path) == {"iteration": 3}


def test_a_file_that_cannot_be_opened_is_not_to_be_deleted(tmp_path: Path) -> None:
    path = tmp_path / "checkpoints.sqlite"
    save(path, iteration=3)
    path.with_name("checkpoints.sqlite-wal").mkdir()
    with pytest.raises(ArtifactError, match=r"unable to open.*Check its permissions") as caught, open_checkpoints(path):
        pass
    assert "delete" not in str(caught.value)


def test_a_run_that_was_killed_before_its_first_step_has_no_state(tmp_path: Path) -> None:
    (tmp_path / "checkpoints.sqlite").touch()
    assert read_state(tmp_path / "checkpoints.sqlite") == {}


@pytest.mark.parametrize("read", [read_state, lambda path: open_checkpoints(path).__enter__()], ids=["read", "open"])
def test_a_state_of_another_version_is_not_to_be_deleted(tmp_path: Path, read: object) -> None:
    assert callable(read)
    path = tmp_path / "checkpoints.sqlite"
    save(path, iteration="of another kind")
    write_manifest(tmp_path, commit=None)
    with pytest.raises(ArtifactError, match=r"not the state of a run .*written by another version") as caught:
        read(path)
    assert "delete" not in str(caught.value)
    write_manifest(tmp_path, commit=find_commit())
    with pytest.raises(ArtifactError, match=r"If the file is damaged, delete it, then `pada resume"):
        read(path)


@pytest.mark.parametrize(
    ("cell", "kept"),
    [
        (np.int64(3), 3),
        (np.float32(0.1), 0.1),
        (np.bool_(True), True),
        (np.array([np.int64(1)], dtype=object), [1]),
        (2**64 - 1, 2**64 - 1),
        (2**64, "18446744073709551616"),
        (-(2**63) - 1, "-9223372036854775809"),
    ],
)
def test_rows_with_numbers_of_numpy_or_huge_ones_are_saved_as_a_file_would_hold_them(
    cell: object, kept: object
) -> None:
    serializer = make_serializer()
    saved = serializer.dumps_typed({"train": [{"text": "a", "label": cell}]})
    assert serializer.loads_typed(saved) == {"train": [{"text": "a", "label": kept}]}


def test_what_a_larger_graph_keeps_beside_such_rows_comes_back_as_it_was() -> None:
    serializer = make_serializer()
    own = {"prices": {1: 2.5}, "vector": np.array([0.1, 0.2], dtype=np.float32)}
    saved = serializer.dumps_typed({**own, "train": [{"text": "a", "label": np.int64(3)}]})
    restored = serializer.loads_typed(saved)
    assert restored["prices"] == own["prices"]
    assert isinstance(restored["vector"], np.ndarray) and restored["vector"].dtype == np.float32
    assert restored["vector"].tolist() == own["vector"].tolist()


@dataclass(frozen=True)
class Order:
    """A class in the state of a larger graph."""

    number: int


def test_a_larger_graph_names_the_classes_of_its_own_state() -> None:
    serializer = make_serializer().with_msgpack_allowlist([Order])
    saved = serializer.dumps_typed({"order": Order(3), "best": Ref(key="k", rows=2), "label": np.int64(3)})
    assert serializer.loads_typed(saved) == {"order": Order(3), "best": Ref(key="k", rows=2), "label": 3}


def test_what_no_checkpoint_can_hold_is_still_refused() -> None:
    with pytest.raises(TypeError, match="not msgpack serializable"):
        make_serializer().dumps_typed({"train": [{"text": object()}]})
