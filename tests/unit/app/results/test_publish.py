import json
import os
from pathlib import Path

import pytest

from pada_agent.agents.guards.guard import reject
from pada_agent.app.adapters.storage.artifacts import FileArtifactStore
from pada_agent.app.results.publish import publish_run
from pada_agent.app.run_folder import layout
from pada_agent.core.errors import ArtifactError
from pada_agent.core.records import Example, Provenance, Rating, Ref, Rejection
from tests.unit.app.summaries import REPORT, make_summary


def test_an_iteration_that_left_nothing_to_train_on_is_still_shown(tmp_path: Path) -> None:
    """Its patterns and why its rows were rejected are what a person wants to see then."""
    whole = make_summary()
    stopped = make_summary(models=whole.models[:1], best_model="untouched", batches=(), analyses={}, adapter=None)
    assert [found.iteration for found in stopped.patterns] == [1]
    publish_run(stopped, tmp_path, FileArtifactStore(tmp_path / "objects"))
    patterns = json.loads((tmp_path / "iterations" / "1" / "patterns.json").read_text())
    assert [p["id"] for p in patterns] == [pair.pattern.id for pair in whole.patterns[0].patterns]


def test_synthetic_rows_are_those_that_were_trained_on(tmp_path: Path) -> None:
    """Not what the batches accepted: rows may repeat between batches, and a person may drop or restore some."""
    store = FileArtifactStore(tmp_path / "objects")
    origin = Provenance(branch="pattern", iteration=1, batch_id="i1-s1-b1", attempt=1, source_id="t1")
    rows = [
        Example(id=f"syn-i1-s1-b1-a1-r{n}", prompt=f"question {n}", answer="refund", provenance=origin)
        for n in (1, 2, 3, 4)
    ]
    store.write_rows("a", rows)
    repeated = reject(rows[3], "duplicate", "repeats r2: near", may_be_overruled=True)
    dropped = reject(rows[0], "person", "dropped in review", may_be_overruled=True)
    store.write_rows("left out", [repeated, dropped])
    store.write_rows("earlier", [rows[0].model_copy(update={"id": "syn-i0"})])
    store.write_rows("joined", rows[1:3])
    store.write_rows("r", [])
    store.write_rows("batches", [REPORT])
    whole = make_summary()
    trained = whole.models[-1].model_copy(update={"synthetic": (Ref(key="earlier", rows=1), Ref(key="joined", rows=2))})
    models, left_out = (*whole.models[:2], trained), {"1": Ref(key="left out", rows=2)}
    publish_run(make_summary(models=models, left_out=left_out, adapter=None), tmp_path, store)
    lines = (tmp_path / "iterations" / "1" / "synthetic.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == [row.id for row in rows[1:3]]
    rejected = layout.read_lines(tmp_path / "iterations" / "1" / "rejected.jsonl", Rejection)
    assert [(r.stage, r.text) for r in rejected] == [
        ("duplicate", "question 4\n→ refund"),
        ("person", "question 1\n→ refund"),
    ]


def test_every_synthetic_row_says_why_it_is_in(tmp_path: Path) -> None:
    """In the judge's words; after a review, what the person overruled; else what became of the batch."""
    store, origin = (
        FileArtifactStore(tmp_path / "objects"),
        Provenance(branch="pattern", iteration=1, batch_id="i1-s1-b1", attempt=1, source_id="t1"),
    )
    rated, restored, unrated = (
        Example(id=f"r{n}", prompt=f"question {n}", answer="refund", provenance=origin) for n in (1, 2, 3)
    )
    given = [
        Rating(example_id=row.id, reason="fits", adherence=8, utility=score, relevance=8)
        for row, score in ((rated, 8), (restored, 2))
    ]
    refused = Rejection(
        stage="quality", reason="rated 6.0: fits", text="", provenance=origin, rating=given[1], example=restored
    )
    store.write_rows("a", [rated])
    store.write_rows("r", [refused])
    store.write_rows("ratings", given[:1])
    store.write_rows("joined", [rated, restored, unrated])
    whole = make_summary()
    trained = whole.models[-1].model_copy(update={"synthetic": (Ref(key="joined", rows=3),)})
    report = REPORT.model_copy(update={"decision": "quality control is off", "ratings": Ref(key="ratings")})
    store.write_rows("batches", [report])
    publish_run(make_summary(models=(*whole.models[:2], trained), adapter=None), tmp_path, store)
    lines = (tmp_path / "iterations" / "1" / "synthetic.jsonl").read_text().splitlines()
    assert [(row["reason"], row["rating"] and row["rating"]["utility"]) for row in map(json.loads, lines)] == [
        ("rated 8.0: fits", 8),
        ("accepted in review; rated 6.0: fits", 2),
        ("quality control is off", None),
    ]
    assert store.read_rows("joined", Example) == [rated, restored, unrated]


def test_the_best_adapter_is_on_the_disk_before_the_run_counts_as_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FileArtifactStore(tmp_path / "objects")
    whole = make_summary(patterns=(), batches=())
    assert whole.adapter is not None
    (tmp_path / whole.adapter).mkdir(parents=True)
    (tmp_path / whole.adapter / "adapter_model.safetensors").write_bytes(b"1")
    synced: dict[str, bool] = {}
    fsync = os.fsync

    def record(number: int) -> None:
        synced[str(Path(f"/proc/self/fd/{number}").readlink())] = (tmp_path / "summary.json").exists()
        fsync(number)

    monkeypatch.setattr("os.fsync", record)
    publish_run(whole, tmp_path, store)
    assert synced[str(tmp_path / "best" / "adapter_model.safetensors")] is False


def test_an_iteration_of_an_earlier_run_in_this_folder_is_removed(tmp_path: Path) -> None:
    """As after a fork, or if the summary was deleted and a setting changed."""
    store = FileArtifactStore(tmp_path / "objects")
    whole = make_summary(patterns=(), batches=(), adapter=None)
    publish_run(whole, tmp_path, store)
    first = tmp_path / "iterations" / "1"
    (first / "grouping.json").write_text("{}")
    (tmp_path / "iterations" / "0" / "predictions").mkdir()
    for name in ("selection.jsonl", "predictions/test.jsonl"):
        (tmp_path / "iterations" / "0" / name).write_text("{}")
    assert (first / "adapter").is_symlink()
    (tmp_path / "objects" / "fine-tune-1").mkdir(parents=True)
    (tmp_path / "objects" / "fine-tune-1" / "weights").write_text("kept")
    publish_run(
        make_summary(models=whole.models[:2], best_model="fine-tuned", patterns=(), batches=(), adapter=None),
        tmp_path,
        store,
    )
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.glob("iterations/**/*") if path.is_file()) == [
        "iterations/0/metrics.json",
        "iterations/untouched/metrics.json",
    ]
    assert (tmp_path / "iterations" / "0" / "adapter").is_symlink() and not first.exists()
    assert (tmp_path / "objects" / "fine-tune-1" / "weights").read_text() == "kept"


def test_a_run_that_cannot_publish_does_not_look_finished(tmp_path: Path) -> None:
    store = FileArtifactStore(tmp_path / "objects")
    whole = make_summary(patterns=(), batches=(), adapter=None)
    publish_run(whole, tmp_path, store)
    with pytest.raises(ArtifactError):
        publish_run(make_summary(patterns=(), batches=(), adapter="elsewhere/adapter"), tmp_path, store)
    assert not (tmp_path / "summary.json").exists()
