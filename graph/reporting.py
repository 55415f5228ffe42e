"""Progress messages, for whoever streams the run."""

from langgraph.config import get_stream_writer

from pada_agent.core.progress import Progress
from pada_agent.graph.adapters import Adapters


def report_progress(progress: Progress) -> None:
    """Send one progress message to whoever streams the run in `custom` mode."""
    get_stream_writer()(progress.model_dump())


def report_stage(stage: str, adapters: Adapters, *, detail: str = "", **counts: int) -> None:
    """Report that a stage with LLM calls has finished, with its counts and the cost of the run so far."""
    cost = sum(usage.cost_usd for usage in adapters.usage().values())
    report_progress(Progress(stage=stage, done=1, total=1, counts=counts, cost_usd=cost, detail=detail))
