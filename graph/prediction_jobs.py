"""Prediction jobs, for runs and for the measurement of a single model."""

from pathlib import Path

from pada_agent.core.jobs import PredictJob
from pada_agent.core.records import Ref
from pada_agent.core.student_config import StudentConfig
from pada_agent.graph.adapters import Adapters
from pada_agent.graph.rendering import choose_chat


def make_prediction_job(
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
