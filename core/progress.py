"""Progress of a stage."""

from typing import Any

from pydantic import ConfigDict, Field, model_validator

from pada_agent.core.records import Record


class Progress(Record):
    """How far a stage is: the `custom` stream of the graph, and the progress of a job. See docs/events.md."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    stage: str
    """Node or job: `fine_tune`, `predict`, `load`, `error_analysis`, `quality_control`, `finish` and so on."""
    done: int
    """Number of finished steps or rows, in `unit`. The stage is over when it reaches `total`."""
    total: int
    """Number of steps or rows in the whole stage, in `unit`."""
    rate: float | None = None
    """`unit` per second. Null until it is known."""
    unit: str = ""
    """`steps`, `rows`, … Empty if nothing is counted."""
    seconds_left: float | None = None
    """Seconds until `total` is reached at this rate. Null without a rate."""
    counts: dict[str, int] = Field(default_factory=dict)
    """Figures of the stage by name, such as rows `accepted` and `rejected`."""
    cost_usd: float | None = None
    """Cost of LLM use in the run so far, in US dollars. Null in stages that call no LLM."""
    detail: str = ""
    """Short text for a person."""

    @model_validator(mode="before")
    @classmethod
    def _tell_time_left(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("rate") and values.get("seconds_left") is None:
            return {**values, "seconds_left": max(values["total"] - values["done"], 0) / values["rate"]}
        return values
