"""The jobs that the compute backend gets from runs, and from the measurement of a single model."""

from pathlib import Path

from pada_agent.core.compute_config import count_processes
from pada_agent.core.config import RunConfig
from pada_agent.core.jobs import ChatSpec, FineTuneJob, LoraSpec, PredictJob
from pada_agent.core.progress import Progress
from pada_agent.core.records import Ref
from pada_agent.core.student_config import StudentConfig
from pada_agent.graph.adapters import Adapters
from pada_agent.graph.reporting import report_progress


def run_fine_tuning(
    rows: Ref,
    name: str,
    settings: RunConfig,
    adapters: Adapters,
    *,
    lora: LoraSpec | None = None,
    start_from: Ref | None = None,
) -> str:
    """Train an adapter, wait for it, and return the job's id, which is also the adapter's key in the store.

    Args:
        name: the model's name in progress messages.
        lora: replaces `settings.lora` if given.
        start_from: adapter to continue training. None starts from the untouched student.
    """
    job = make_fine_tune_job(rows, settings, adapters, lora=lora or settings.lora, start_from=start_from)
    job_id = adapters.compute.submit(job)
    adapters.compute.wait(job_id, lambda progress: report_progress(prefix_progress(name, progress)))
    return job_id


def make_fine_tune_job(
    rows: Ref, settings: RunConfig, adapters: Adapters, *, lora: LoraSpec, start_from: Ref | None
) -> FineTuneJob:
    """The job that trains an adapter on these rows of the store."""
    store = adapters.store
    return FineTuneJob(
        student=adapters.student,
        rows=str(store.rows_path(rows.key)),
        rows_hash=rows.key,
        lora=lora,
        load_in=settings.student.load_in,
        chat=choose_chat(settings.student, adapters),
        seed=settings.seed,
        n_processes=count_processes(settings.compute),
        start_from=str(store.folder(start_from.key)) if start_from else None,
    )


def make_predict_job(
    rows: Ref,
    student: StudentConfig,
    adapters: Adapters,
    *,
    adapter: Path | None,
    adapter_hash: str | None,
    max_new_tokens: int,
) -> PredictJob:
    """The job that lets the student, with `adapter` or untouched, answer these rows of the store."""
    return PredictJob(
        student=adapters.student,
        adapter=str(adapter) if adapter else None,
        adapter_hash=adapter_hash,
        load_in=student.load_in,
        rows=str(adapters.store.rows_path(rows.key)),
        rows_hash=rows.key,
        max_new_tokens=max_new_tokens,
        stop=adapters.task.stop,
        batch_size=student.eval_batch_size,
        chat=choose_chat(student, adapters),
        engine=student.engine,
    )


def choose_chat(student: StudentConfig, adapters: Adapters) -> ChatSpec:
    """The chat format from the settings, numbered by what the student's template needs, so that results of another rendering are not reused.

    Raises:
        ConfigError, TrainingError: the student's tokenizer or its chat template cannot be used.
    """
    tokens = adapters.tokens
    return student.chat.model_copy(update={"rendering": tokens.rendering}) if tokens else student.chat


def prefix_progress(name: str, progress: Progress) -> Progress:
    """A job's progress message that begins with what the job works on."""
    return progress.model_copy(update={"detail": f"{name}: {progress.detail}".rstrip(": ")})
