"""Runs of different settings over one store, as the arms of an experiment have it: none changes what another has put there."""

from pathlib import Path
from typing import Any

import pytest

from pada_agent.graph.builder import build_graph
from tests.toy_world import ToyWorld, make_settings

VARIANTS: list[dict[str, Any]] = [
    {"generation": {"pattern_share": 1.0}},
    {"generation": {"pattern_share": 0.0}},
    {"generation": {"template": "contrast_generation", "pattern_share": 0.0}},
    {"generation": {"sources": "training_rows", "pattern_share": 0.0}},
    {"student": {"eval_batch_size": 1}},
    {"analysis": {"max_clusters": 2}},
    {"analysis": {"outcome_weight": 0.0}},
    {"student": {"system": "answer well"}},
    {"student": {"max_new_tokens": 3}},
    {"task": {"instruction": "Sort it."}},
    {"seed": 1},
    {"quality": {"enabled": False}},
]


def read_objects(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for name in ("rows.jsonl", "value.json")
        for path in folder.glob(f"*/{name}")
    }


@pytest.mark.parametrize("changes", VARIANTS, ids=str)
def test_another_run_changes_no_object_of_the_first(tmp_path: Path, changes: dict[str, Any]) -> None:
    loop = {"max_iterations": 1}
    first = ToyWorld(tmp_path)
    build_graph(first.connect).compile().invoke({}, context=make_settings(loop=loop))
    before = read_objects(tmp_path / "objects")
    second = ToyWorld(tmp_path)
    build_graph(second.connect).compile().invoke({}, context=make_settings(loop=loop, **changes))
    after = read_objects(tmp_path / "objects")
    assert before and {key: after[key] for key in before} == before
