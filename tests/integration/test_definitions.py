"""Training on the definitions of labels."""

from pathlib import Path

from tests.integration.graph_runs import fine_tunings, run, training_rows
from tests.toy_world import LABELS, TRAIN, ToyWorld


def test_every_model_is_trained_on_the_definitions_and_no_row_is_written_from_them(tmp_path: Path) -> None:
    world = ToyWorld(tmp_path)
    summary = run(world, data={"train_on_definitions": True}, generation={"error_source": "out_of_fold"})
    jobs = fine_tunings(world)
    assert len(jobs) > 3, "out-of-fold students too"
    for job in jobs:
        rows = training_rows(job)
        assert [row.reference["question"] for row in rows if row.id.startswith("definition-")] == list(LABELS.values())
    plain = next(model for model in summary.models if model.name == "fine-tuned")
    assert plain.n_train_rows == len(TRAIN) + len(LABELS)
    written = [row for row in training_rows(jobs[-1]) if row.provenance]
    assert written and not any(row.provenance.source_id.startswith("definition-") for row in written if row.provenance)


def test_definitions_are_not_trained_on_unless_asked_for(tmp_path: Path) -> None:
    world = ToyWorld(tmp_path)
    run(world)
    assert not [row for job in fine_tunings(world) for row in training_rows(job) if row.id.startswith("definition-")]
