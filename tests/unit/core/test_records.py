"""Values that older runs wrote are still read."""

import pytest

from pada_agent.core.records import BatchReport

OLD = {
    "branch": "pattern",
    "attempts": 1,
    "n_requested": 1,
    "n_written": 1,
    "n_accepted": 1,
    "decision": "accepted",
    "accepted": {"key": "a"},
    "rejected": {"key": "r"},
}


@pytest.mark.parametrize(
    ("values", "iteration"),
    [
        ({"batch_id": "i3-s1-b2"}, 3),
        ({"batch_id": "i12-held-back"}, 12),
        ({"batch_id": "mine-b1"}, 0),
        ({"batch_id": "i3-s1-b2", "iteration": 4}, 4),
    ],
)
def test_a_report_of_an_older_run_has_its_iteration_from_its_batch(values: dict[str, object], iteration: int) -> None:
    assert BatchReport.model_validate({**OLD, **values}).iteration == iteration
