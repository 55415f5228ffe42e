"""Fine-tuning through the compute backend, for the loop and for out-of-fold errors."""

from pada_agent.core.compute_config import count_processes
from pada_agent.core.jobs import FineTuneJob, LoraSpec
from pada_agent.core.records import Ref
from pada_agent.graph.adapters import Adapters
from pada_agent.graph.rendering import choose_chat
from pada_agent.graph.reporting import report_progress
from pada_agent.graph.state import Given


def run_fine_tuning(
    rows: Ref,
    name: str,
    state: Given,
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
    settings, store = state["settings"], adapters.store
    job_id = adapters.compute.submit(
        FineTuneJob(
            student=adapters.student,
            rows=str(store.rows_path(rows.key)),
            rows_hash=rows.key,
            lora=lora or settings.lora,
            load_in=settings.student.load_in,
            chat=choose_chat(settings.student, adapters),
            seed=settings.seed,
            n_processes=count_processes(settings.compute),
            start_from=str(store.folder(start_from.key)) if start_from else None,
        )
    )
    adapters.compute.wait(
        job_id, lambda p: report_progress(p.model_copy(update={"detail": f"{name}: {p.detail}".rstrip(": ")}))
    )
    return job_id
