"""Time spans: when each node ran, and how long each stage took."""

from collections import defaultdict
from collections.abc import Iterable, Mapping

Span = tuple[float, ...]
"""Start and end time, in seconds since the epoch. A node that ran several times has several starts and ends, in turn."""


def span_key(node: str, detail: str) -> str:
    """The node's name, then what tells parallel and repeated executions apart."""
    return f"{node}/{detail}"


def merge_by_stage(spans: Mapping[str, Span]) -> dict[str, Span]:
    """When each stage ran. Overlapping executions become one."""
    by_stage: dict[str, list[Span]] = defaultdict(list)
    for key, span in spans.items():
        by_stage[key.partition("/")[0]].append(span)
    return {stage: _merge(stage_spans) for stage, stage_spans in by_stage.items()}


def seconds_by_stage(spans: Mapping[str, Span]) -> dict[str, float]:
    """Wall time of each stage, in seconds. Overlapping executions of a stage count once."""
    return {stage: round(_count_seconds(span), 1) for stage, span in merge_by_stage(spans).items()}


def _merge(spans: Iterable[Span]) -> Span:
    merged: list[float] = []
    for start, end in sorted(pair for span in spans for pair in zip(span[::2], span[1::2], strict=True)):
        if merged and start <= merged[-1]:
            merged[-1] = max(merged[-1], end)
        else:
            merged += [start, end]
    return tuple(merged)


def _count_seconds(span: Span) -> float:
    return sum(end - start for start, end in zip(span[::2], span[1::2], strict=True))
