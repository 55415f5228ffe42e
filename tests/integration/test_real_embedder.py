"""The thresholds of the guards with the real embedder: paraphrases are found, honest text is left alone (docs/adr/0008)."""

import json
from pathlib import Path

import pytest

from pada_agent.agents.guards.leak_guard import LeakGuard
from pada_agent.app.adapters.embedder import SentenceEmbedder
from pada_agent.app.adapters.storage import model_store
from pada_agent.core.config import GuardConfig
from pada_agent.core.records import Example, Strategy
from pada_agent.evaluation.contamination import find_near

ROOT = Path(__file__).parents[2]
CASES = json.loads((ROOT / "tests" / "cases" / "paraphrases.json").read_text(encoding="utf-8"))


def read(split: str) -> list[Example]:
    lines = (ROOT / "examples" / "support_routing" / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return [Example(id=row["id"], prompt=row["message"], answer=row["queue"]) for row in rows]


def strategy(approach: str) -> Strategy:
    return Strategy(id="s", pattern_id="p", category_name="c", strategy_name="n", generation_approach=approach)


@pytest.mark.slow
def test_the_default_thresholds_find_paraphrases_and_leave_honest_text_alone() -> None:
    embedder = SentenceEmbedder(str(model_store.resolve("all-mpnet-base-v2")))
    settings = GuardConfig()
    train, validation = read("train"), read("validation")
    guard = LeakGuard(validation, train, embedder=embedder, threshold=settings.leak_similarity)
    found = {
        row: guard.clear(strategy(f"Write messages. For example: {text}")) for row, text in CASES["paraphrases"].items()
    }
    assert not [row for row, cleared in found.items() if not cleared.near]
    demo = json.loads((ROOT / "docs" / "results" / "demo" / "strategies.json").read_text(encoding="utf-8"))
    honest = [*map(strategy, CASES["strategies"] + CASES["honest_clauses"]), *map(Strategy.model_validate, demo)]
    held_out = LeakGuard([*validation, *read("test")], train, embedder=embedder, threshold=settings.leak_similarity)
    assert not [cleared.near for cleared in map(held_out.clear, honest) if cleared.near]

    woven = {row: held_out.clear(strategy(text)) for row, text in CASES["woven"].items()}
    missed = [row for row, cleared in woven.items() if not cleared.near]
    assert missed == ["validation-001", "validation-008", "validation-006", "validation-058"]
    assert sum(near.row_id == row for row, cleared in woven.items() for near in cleared.near) == 19

    copies = [Example(id=row, prompt=text, answer="") for row, text in CASES["paraphrases"].items()]
    threshold = settings.contamination_similarity or 1.0
    near = find_near(copies, validation, embedder=embedder, threshold=threshold)
    assert len(near) == 8 and all(o.example_id == o.protected_id for o in near)
    assert find_near(train, [*validation, *read("test")], embedder=embedder, threshold=threshold) == []
