"""New rows are spread over the labels, and a label whose rows are always refused does not keep the others from being written."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from pada_agent.agents.guards.guard import Guard, Refusal
from pada_agent.core.config import RunConfig
from pada_agent.core.records import Example
from pada_agent.graph.adapters import Adapters
from tests.integration.graph_runs import fine_tunings, run, training_rows
from tests.toy_world import LABELS, ToyWorld


class NoTools(Guard):
    """Refuses all rows about tools."""

    name = "no_tools"
    stage = "unlikely"
    may_be_overruled = True

    def check(self, candidates: Sequence[Example]) -> Mapping[str, Refusal]:
        return {c.id: Refusal(reason="no tools") for c in candidates if label_of(c) == "tool"}


def label_of(row: Example) -> str:
    return str(row.reference["choices"][row.reference["gold"]]) if "choices" in row.reference else row.answer


def count_new(world: ToyWorld) -> Counter[str]:
    return Counter(label_of(row) for row in training_rows(fine_tunings(world)[-1]) if row.provenance)


GENERATION = {"pattern_share": 0, "share": 1.0, "sources": "training_rows", "max_rows_per_error": None}


@pytest.mark.parametrize("balance", [True, False])
def test_a_label_whose_rows_are_always_refused_leaves_room_for_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, balance: bool
) -> None:
    world = ToyWorld(tmp_path)
    connect = world.connect

    def connect_guarded(config: RunConfig) -> Adapters:
        adapters = connect(config)
        return replace(adapters, guards=(*adapters.guards, NoTools))

    monkeypatch.setattr(world, "connect", connect_guarded)
    generation = {**GENERATION, "balance_labels": balance, "max_asked_per_row": 20}
    summary = run(world, generation=generation, loop={"max_iterations": 1})
    assert summary.rows.accepted == summary.rows.requested
    assert set(count_new(world)) == set(LABELS) - {"tool"}


def test_labels_get_new_rows_in_proportion_to_their_training_rows(tmp_path: Path) -> None:
    world = ToyWorld(tmp_path)
    run(world, generation=GENERATION, loop={"max_iterations": 1})
    known = Counter(label_of(row) for row in training_rows(fine_tunings(world)[-1]) if not row.provenance)
    new = count_new(world)
    assert all(abs(new[label] - new.total() * known[label] / known.total()) <= 1 for label in LABELS)
