"""Checks how rows share passages: several questions on one are not independent, and a passage in two splits is known already."""

from collections.abc import Mapping, Sequence

from pada_agent.core.records import Example
from pada_agent.core.wording import count
from pada_agent.evaluation.rows.findings import Finding, warn
from pada_agent.evaluation.text_units import Units, units_of

MIN_ROWS = 20
"""With fewer rows, the interval says that there are few, and this is somebody's first try."""
MANY_ON_ONE = 2
"""Mean number of questions on a passage from which the interval is told to be too narrow."""
MUCH_SHARED = 0.1
"""Share of held-out rows on passages of the training rows from which that is told."""


def check_passages(rows: Mapping[str, Sequence[Example]], locations: Mapping[str, str]) -> list[Finding]:
    """What a person should know about the passages of held-out rows. Nothing for tasks without passages.

    Args:
        rows: examples by split.
        locations: where each split was read from, for messages.
    """
    known = set(_list_passages(rows.get("train", ())))
    findings = []
    for split in ("validation", "test"):
        passages = _list_passages(rows.get(split, ()))
        if len(passages) < MIN_ROWS:
            continue
        n, n_different, n_known = len(passages), len(set(passages)), sum(passage in known for passage in passages)
        if n >= MANY_ON_ONE * n_different:
            findings.append(
                warn(
                    f"{locations[split]}: {n} rows ask about {count(n_different, 'passage')}. Questions on one passage are easy or hard"
                    " together, so intervals are too narrow and tests show too much: use rows on more passages (set"
                    " data.shuffle, if the file is sorted)"
                )
            )
        if n_known > MUCH_SHARED * n:
            findings.append(
                warn(
                    f"{locations[split]}: {n_known} of {n} rows ask about passages that are also in the training"
                    " rows, so accuracy is that on passages that the student knows. Put all rows of a passage into one split"
                )
            )
    return findings


def _list_passages(rows: Sequence[Example]) -> list[Units]:
    """The passage of each row that has one, without case and punctuation."""
    return [units_of(passage) for row in rows if isinstance(passage := row.reference.get("passage"), str)]
