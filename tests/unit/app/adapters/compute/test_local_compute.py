"""LocalCompute against a scripted worker."""

import errno
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pada_agent.app.adapters.compute.local_compute import LocalCompute, address_job, has_output
from pada_agent.core.errors import ArtifactError, NonFiniteLossError, PadaError, TrainingError
from pada_agent.core.jobs import ChatSpec, ExportJob, FineTuneJob, Job, LoraSpec, PredictJob, TokenizerJob
from pada_agent.core.machine import WAITING
from pada_agent.core.progress import Progress
from tests.compute_contract import ComputeContract
from tests.scripted_worker import COMMAND, make_job, run


@pytest.fixture
def compute(tmp_path: Path) -> Iterator[LocalCompute]:
    compute = make_compute(tmp_path)
    yield compute
    compute.close()


def make_compute(folder: Path) -> LocalCompute:
    return LocalCompute(folder / "objects", folder / "worker.log", device="cpu", threads=2, command=COMMAND)


class TestLocalCompute(ComputeContract):
    pass


@pytest.mark.parametrize(("policy", "expected"), [(None, "PASSIVE30000"), ("ACTIVE", "ACTIVE")])
def test_threads_wait_as_measured_unless_the_environment_says_how(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: str | None, expected: str
) -> None:
    for name in WAITING:
        monkeypatch.delenv(name, raising=False)
    if policy:
        monkeypatch.setenv("OMP_WAIT_POLICY", policy)
    compute = make_compute(tmp_path)
    assert (run(compute, make_job("a")) / "waiting").read_text() == expected
    compute.close()


def test_progress_reaches_the_thread_that_waits(compute: LocalCompute) -> None:
    seen: list[tuple[Progress, int]] = []
    compute.wait(compute.submit(make_job("a")), lambda p: seen.append((p, threading.get_ident())))
    assert seen == [(Progress(stage="a", done=1, total=2), threading.get_ident())]


def test_finished_work_is_not_repeated_by_this_or_another_instance(compute: LocalCompute, tmp_path: Path) -> None:
    written = (run(compute, make_job("a")) / "pid").stat().st_mtime_ns
    assert (run(compute, make_job("a")) / "pid").stat().st_mtime_ns == written
    other = LocalCompute(tmp_path / "objects", tmp_path / "log", command=("no-such-program",))
    assert (run(other, make_job("a")) / "pid").stat().st_mtime_ns == written


def test_output_that_does_not_reach_the_disk_does_not_count(
    compute: LocalCompute, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr("os.fsync", fail)
        with pytest.raises(ArtifactError, match=r"the disk is full\. Free some space"):
            run(compute, make_job("a"))
    assert list((tmp_path / "objects").iterdir()) == []
    assert has_output(run(compute, make_job("a")))


def test_a_closed_backend_starts_no_worker_for_a_job_that_waited(compute: LocalCompute, tmp_path: Path) -> None:
    job_id = compute.submit(make_job("a"))
    compute.close()
    with pytest.raises(TrainingError, match="compute is closed"):
        compute.wait(job_id, lambda _: None)
    assert not (tmp_path / "worker.log").exists()


def test_what_another_process_finished_meanwhile_stays(compute: LocalCompute, tmp_path: Path) -> None:
    job = make_job("a")

    def finish_first(_: Progress) -> None:
        theirs = tmp_path / "objects" / address_job(job)
        theirs.mkdir()
        (theirs / "pid").write_text("theirs")

    folder = compute.wait(compute.submit(job), finish_first)
    assert (folder / "pid").read_text() == "theirs"
    assert [path.name for path in (tmp_path / "objects").iterdir()] == [folder.name]


def test_the_last_good_adapter_of_a_failed_job_outlives_it(compute: LocalCompute, tmp_path: Path) -> None:
    job = make_job("NonFiniteLossError")
    kept = tmp_path / "objects" / f"{address_job(job)}-last_good"
    for _ in range(2):
        with pytest.raises(
            NonFiniteLossError, match=rf"loss nan The adapter of the last finite loss is kept in {kept}"
        ):
            run(compute, job)
        assert (kept / "adapter").read_text() == "weights"
    assert [path.name for path in (tmp_path / "objects").iterdir()] == [kept.name]


def test_a_worker_that_cannot_start_is_explained(tmp_path: Path) -> None:
    compute = LocalCompute(tmp_path / "objects", tmp_path / "worker.log", command=("no-such-program",))
    with pytest.raises(TrainingError, match=r"cannot be started: .*no-such-program"):
        run(compute, make_job("a"))


def test_a_worker_killed_between_jobs_is_replaced(compute: LocalCompute) -> None:
    pid = int((run(compute, make_job("a")) / "pid").read_text())
    os.kill(pid, signal.SIGKILL)
    await_end(pid)
    assert int((run(compute, make_job("b")) / "pid").read_text()) != pid


def test_the_worker_ends_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    program = (
        "import sys; from tests.unit.app.adapters.compute.test_local_compute import *;"
        "c = make_compute(Path(sys.argv[1])); print((run(c, make_job('a')) / 'pid').read_text(), flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.kill()
    await_end(pid)


def await_end(pid: int) -> None:
    """Until no process has this id, or only a zombie."""
    status = Path(f"/proc/{pid}/stat")
    for _ in range(100):
        if not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(0.05)
    pytest.fail(f"process {pid} is still there")


def test_the_address_follows_content_not_paths(tmp_path: Path) -> None:
    for name, weights in (("one", b"w"), ("same", b"w"), ("other", b"v")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "adapter_model.safetensors").write_bytes(weights)
    base = address_job(make_job("a"))
    one, same, other = (address_job(make_job("a", adapter=str(tmp_path / n))) for n in ("one", "same", "other"))
    assert one == same
    assert len({base, one, other}) == 3
    assert address_job(make_job("elsewhere", rows_hash="a")) == base
    assert address_job(make_job("a", adapter="x", adapter_hash="h")) == address_job(
        make_job("a", adapter="y", adapter_hash="h")
    )


def test_the_engine_is_part_of_the_address_only_if_it_is_not_our_own() -> None:
    """So evaluations from before there was a choice are found again."""
    answered = make_job("a", adapter="x", adapter_hash="b", stop=["\n"], max_new_tokens=32)
    assert [address_job(make_job("a")), address_job(answered)] == [
        "predict-34af7c67d860cb44",
        "predict-1b6c5230a7f8258e",
    ]
    assert address_job(make_job("a", engine="vllm")) not in {
        address_job(make_job("a", engine="own")),
        address_job(answered),
    }


def test_every_setting_of_a_fine_tuning_changes_its_address() -> None:
    job = FineTuneJob(student="s", rows="r", rows_hash="h", lora=LoraSpec())
    changes: list[dict[str, object]] = [
        {"student": "t"}, {"rows_hash": "i"}, {"chat": ChatSpec(system="")}, {"seed": 1}, {"start_from": "x"}, {"lora": LoraSpec(rank=8)},
        {"load_in": "4bit"},
    ]  # fmt: skip
    assert len({address_job(job.model_copy(update=change)) for change in [{}, *changes]}) == 8
    assert address_job(job) == address_job(job.model_copy(update={"rows": "q"}))


FINISHED: dict[str, Job] = {
    "fine_tune-5af043d233e8593f": FineTuneJob(student="s", rows="r", rows_hash="h", lora=LoraSpec()),
    "predict-48b1dedcec7f0b83": PredictJob(student="s", rows="r", rows_hash="h"),
    "tokenizer-7f35be25dd1e1d31": TokenizerJob(student="s"),
    "export-731a12e6d2499230": ExportJob(student="s", adapter="a", format="safetensors", rows="r", rows_hash="h"),
}


@pytest.mark.parametrize("job_id", FINISHED)
def test_results_of_jobs_that_are_finished_are_found_again_with_later_versions(job_id: str) -> None:
    assert address_job(FINISHED[job_id]) == job_id


def test_jobs_whose_rows_are_rendered_in_another_way_have_ids_of_their_own() -> None:
    job = FINISHED["fine_tune-5af043d233e8593f"]
    ids = [address_job(job.model_copy(update={"chat": ChatSpec(rendering=n)})) for n in (1, 2)]
    assert ids[0] == "fine_tune-5af043d233e8593f" != ids[1]
    assert ChatSpec.model_validate_json(ChatSpec(rendering=2).model_dump_json()).rendering == 2


@pytest.mark.parametrize("job_id", list(FINISHED)[:3])
def test_jobs_with_weights_in_4_bits_have_ids_of_their_own(job_id: str) -> None:
    assert address_job(FINISHED[job_id].model_copy(update={"load_in": "4bit"})) != job_id


def test_what_lost_attempts_left_is_removed_once_the_job_is_finished(compute: LocalCompute, tmp_path: Path) -> None:
    job_id, objects = address_job(make_job("a")), tmp_path / "objects"
    (objects / f".{job_id}.0f").mkdir(parents=True)
    for name in (f".{job_id}.0f/half", f".{job_id}.checkpoint", f".{job_id}.checkpoint.1a"):
        (objects / name).touch()
    with pytest.raises(TrainingError):
        run(compute, make_job("TrainingError"))
    assert len(list(objects.iterdir())) == 3, "another job's failure changes nothing"
    run(compute, make_job("a"))
    assert [path.name for path in objects.iterdir()] == [job_id]


@pytest.mark.parametrize(
    "name", ["ArtifactError", "TrainingError", "NonFiniteLossError", "DatasetError", "ConfigError"]
)
def test_a_checkpoint_outlives_failures_that_may_pass(compute: LocalCompute, name: str) -> None:
    job_id = compute.submit(make_job(name))
    compute.name_checkpoint(job_id).parent.mkdir()
    compute.name_checkpoint(job_id).write_text("nine hours of training")
    with pytest.raises(PadaError, match="loss nan"):
        compute.wait(job_id, lambda _: None)
    assert compute.name_checkpoint(job_id).exists() is (name in ("ArtifactError", "TrainingError"))


@pytest.mark.parametrize(
    ("job", "advice"),
    [
        (make_job("die"), "lower student.eval_batch_size, choose"),
        (make_job("die", engine="vllm"), "memory: choose a smaller student, use a machine"),
        (FineTuneJob(student="s", rows="die", rows_hash="h", lora=LoraSpec()), "lower lora.micro_batch_tokens, choose"),
        (
            ExportJob(student="s", adapter="a", format="safetensors", rows="die", rows_hash="h"),
            "memory: choose a smaller student, use a machine",
        ),
    ],
)
def test_a_killed_job_is_told_what_it_really_uses(compute: LocalCompute, job: Job, advice: str) -> None:
    with pytest.raises(TrainingError, match=re.escape(advice)):
        compute.wait(compute.submit(job), lambda _: None)


def test_an_attempt_that_fails_after_another_has_finished_takes_its_output(
    compute: LocalCompute, tmp_path: Path
) -> None:
    """Whoever finishes first removes what the others wrote."""
    job_id = compute.submit(make_job("TrainingError"))

    def finish_elsewhere(_: Progress) -> None:
        (tmp_path / "objects" / job_id).mkdir(exist_ok=True)
        (tmp_path / "objects" / job_id / "output").touch()

    assert (compute.wait(job_id, finish_elsewhere) / "output").exists()
