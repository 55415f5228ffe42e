"""The cost model against experiments that were recorded."""

from pathlib import Path

import pytest

from benchmarks.cluster_recording import RecordedCourse, Recording, predict

RECORDED = Path(__file__).parents[3] / "benchmarks/recordings/cluster.json"
RECORDING = Recording.model_validate_json(RECORDED.read_text())


@pytest.mark.parametrize("course", RECORDING.courses, ids=lambda course: f"{course.n_workers} workers")
def test_predicted_hours_are_within_15_percent_of_recorded_ones(course: RecordedCourse, tmp_path: Path) -> None:
    (line,) = predict(RECORDING, course, tmp_path).lines
    assert 3600 * line.hours == pytest.approx(course.seconds, rel=0.15)


def test_the_recording_has_one_and_two_workers() -> None:
    assert [course.n_workers for course in RECORDING.courses] == [1, 2]
