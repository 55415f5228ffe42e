import json
from pathlib import Path

from pada_agent.app.adapters.artifacts import FileArtifactStore
from pada_agent.app.publishing import publish_run, write_card
from tests.unit.app.summaries import make_summary


def test_the_card_names_the_base_weights_it_fits() -> None:
    summary = make_summary()
    card = write_card(summary, summary.arms[-1], {"student.gguf": "b179c952"})
    assert card.endswith("It fits only these base weights: `student.gguf`, SHA-256 `b179c952`.\n")
    assert summary.verdict in card


def test_the_card_of_an_unknown_base_says_nothing_about_it() -> None:
    summary = make_summary()
    assert "SHA-256" not in write_card(summary, summary.arms[-1], {})


def test_an_iteration_that_left_nothing_to_train_on_is_still_shown(tmp_path: Path) -> None:
    """Its patterns and why its rows were rejected are what a person wants to see then."""
    whole = make_summary()
    stopped = make_summary(arms=whole.arms[:1], batches=(), analyses={}, adapter=None)
    assert [found.iteration for found in stopped.patterns] == [1]
    publish_run(stopped, tmp_path, FileArtifactStore(tmp_path / "objects"))
    patterns = json.loads((tmp_path / "iterations" / "1" / "patterns.json").read_text())
    assert [p["id"] for p in patterns] == [pair.pattern.id for pair in whole.patterns[0].patterns]
