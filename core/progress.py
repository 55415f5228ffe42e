"""How far a stage is."""

from typing import Any

from pydantic import ConfigDict, Field, model_validator

from pada_agent.core.records import Record


class Progress(Record):
    """How far a stage is: the `custom` stream of the graph, and a job's progress. docs/events.md explains it."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    stage: str
    """Node or job: `fine_tune`, `predict`, `load`, `error_analysis`, `quality_control`, `finish` and so on."""
    done: int
    """Steps or rows behind us, in `unit`. The stage is over when it reaches `total`."""
    total: int
    """Steps or rows of the whole stage, in `unit`."""
    rate: float | None = None
    """`unit` per second; null before it can be told."""
    unit: str = ""
    """`steps`, `rows`, …; empty where nothing is counted."""
    seconds_left: float | None = None
    """Seconds until `total` at this rate; null without a rate."""
    counts: dict[str, int] = Field(default_factory=dict)
    """Figures of the stage by name, such as rows `accepted` and `rejected`."""
    cost_usd: float | None = None
    """US dollars of LLM use in the run so far, in stages that call an LLM; null in the others."""
    detail: str = ""
    """For a person."""

    @model_validator(mode="before")
    @classmethod
    def _tell_time_left(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("rate") and values.get("seconds_left") is None:
            return {**values, "seconds_left": max(values["total"] - values["done"], 0) / values["rate"]}
        return values
