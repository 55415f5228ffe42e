"""What every compute backend promises. A subclass brings a fixture `compute` whose objects are in `tmp_path/objects`."""

import threading
import time
from pathlib import Path

import pytest

from pada_agent.app.adapters.compute.local_compute import address_job
from pada_agent.core.errors import ArtifactError, DatasetError, NonFiniteLossError, TrainingError
from pada_agent.core.ports import Compute
from pada_agent.core.progress import Progress
from tests.scripted_worker import count_starts, make_job, run


class ComputeContract:
    def test_a_finished_job_leaves_its_folder_and_nothing_else(self, compute: Compute, tmp_path: Path) -> None:
        job = make_job("a")
        folder = run(compute, job)
        assert folder == tmp_path / "objects" / address_job(job)
        assert (folder / "environment").read_text() == "cpu2"
        assert [path.name for path in (tmp_path / "objects").iterdir()] == [folder.name]

    def test_progress_reaches_the_thread_that_waits_in_order(self, compute: Compute) -> None:
        seen: list[tuple[Progress, int]] = []
        compute.wait(compute.submit(make_job("slow")), lambda p: seen.append((p, threading.get_ident())))
        assert [p.done for p, _ in seen if p.stage == "slow"] == [1, *range(20)]
        assert {thread for _, thread in seen} == {threading.get_ident()}

    def test_one_worker_serves_jobs_that_follow_each_other(self, compute: Compute) -> None:
        assert (run(compute, make_job("a")) / "pid").read_text() == (run(compute, make_job("b")) / "pid").read_text()

    def test_finished_work_is_not_repeated(self, compute: Compute, tmp_path: Path) -> None:
        assert run(compute, make_job("a")) == run(compute, make_job("a"))
        assert count_starts(tmp_path, "a") == 1

    def test_an_empty_folder_is_no_output(self, compute: Compute, tmp_path: Path) -> None:
        (tmp_path / "objects" / address_job(make_job("a"))).mkdir(parents=True)
        assert (run(compute, make_job("a")) / "pid").exists()

    @pytest.mark.parametrize(
        ("name", "kind"),
        [
            ("NonFiniteLossError", NonFiniteLossError),
            ("TrainingError", TrainingError),
            ("DatasetError", DatasetError),
            ("ArtifactError", ArtifactError),
            ("StrangeError", TrainingError),
        ],
    )
    def test_the_workers_error_is_raised_with_its_words_and_it_lives_on_unless_it_says_otherwise(
        self, compute: Compute, name: str, kind: type[Exception]
    ) -> None:
        """After an error that it does not know, its GPU may be unusable for every later job."""
        before = (run(compute, make_job("a")) / "pid").read_text()
        for _ in range(2):
            with pytest.raises(kind, match="step 3: loss nan") as caught:
                run(compute, make_job(name))
            assert type(caught.value) is kind
        lives_on = name != "StrangeError"
        assert ((run(compute, make_job("b")) / "pid").read_text() == before) is lives_on

    def test_a_crash_is_explained_and_the_next_job_gets_a_new_worker(self, compute: Compute, tmp_path: Path) -> None:
        with pytest.raises(TrainingError, match=r"exit status 3.*\.log: out of luck"):
            run(compute, make_job("crash"))
        assert (run(compute, make_job("a")) / "pid").exists()
        assert [path.name for path in (tmp_path / "objects").iterdir()] == [address_job(make_job("a"))]
        assert count_starts(tmp_path, "crash") == 1

    @pytest.mark.parametrize("name", ["die", "torn"])
    def test_a_killed_worker_hints_at_memory(self, compute: Compute, name: str) -> None:
        """Also if it was killed while it reported something."""
        with pytest.raises(TrainingError, match="lack of memory"):
            run(compute, make_job(name))

    def test_cancel_ends_a_running_job_within_seconds_and_it_can_be_submitted_again(self, compute: Compute) -> None:
        run(compute, make_job("a"))
        job_id = compute.submit(make_job("hang"))
        start = time.monotonic()
        for _ in range(2):
            with pytest.raises(TrainingError, match="was cancelled"):
                compute.wait(job_id, lambda p: compute.cancel(job_id) if p.stage == "hang" else None)
            compute.submit(make_job("hang"))
        assert time.monotonic() - start < 5
        compute.cancel(job_id)
        assert (run(compute, make_job("b")) / "pid").exists()

    def test_a_job_cancelled_before_its_turn_is_an_error(self, compute: Compute) -> None:
        job_id = compute.submit(make_job("hang"))
        compute.cancel(job_id)
        with pytest.raises(TrainingError, match="was cancelled"):
            compute.wait(job_id, lambda _: None)

    def test_an_interrupted_wait_leaves_no_stale_events_for_the_next_job(self, compute: Compute) -> None:
        def interrupt(_: Progress) -> None:
            raise KeyboardInterrupt

        stages: list[str] = []
        with pytest.raises(KeyboardInterrupt):
            compute.wait(compute.submit(make_job("slow")), interrupt)
        compute.wait(compute.submit(make_job("a")), lambda p: stages.append(p.stage))
        assert set(stages) - {"wait"} == {"a"}

    def test_close_fails_the_job_in_flight_and_those_that_wait(self, compute: Compute) -> None:
        job_ids = [compute.submit(make_job(name)) for name in ("hang", "slow1", "slow2", "slow3")]
        errors: list[str] = []

        def wait(job_id: str) -> None:
            with pytest.raises(TrainingError) as caught:
                compute.wait(job_id, lambda p: compute.close() if p.stage == "hang" else None)
            errors.append(str(caught.value))

        threads = [threading.Thread(target=wait, args=[job_id]) for job_id in job_ids]
        for thread in threads:
            thread.start()
            time.sleep(0.01)
        for thread in threads:
            thread.join(20)
        assert sorted(errors) == sorted(f"job {job_id}: compute is closed" for job_id in job_ids)

    def test_threads_that_wait_for_one_job_run_it_once(self, compute: Compute, tmp_path: Path) -> None:
        job_id = compute.submit(make_job("a"))
        threads = [threading.Thread(target=compute.wait, args=[job_id, lambda _: None]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert count_starts(tmp_path, "a") == 1

    def test_an_unknown_job_is_an_error(self, compute: Compute) -> None:
        with pytest.raises(TrainingError, match="not submitted"):
            compute.wait("predict-0000", lambda _: None)
