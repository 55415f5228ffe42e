"""Checks the labels of training and held-out rows: whether there is something to learn, and whether it is what is asked."""

from collections import Counter
from collections.abc import Mapping, Sequence

from pada_agent.core.records import Example
from pada_agent.core.wording import agree, count, list_some
from pada_agent.evaluation.rows.findings import Finding, stop, warn
from pada_agent.evaluation.task import Task

LOPSIDED = 0.95
"""Share of a single label among held-out rows above which accuracy says little."""
NO_ACCIDENT = 8
"""Number of rows from which the same answer in all of them must be a mistake. Fewer rows are somebody's first try."""
UNLIKELY = 0.01
"""If it is less likely than this that a label is missing by accident of a small limit, the file is probably sorted."""


def count_labels(task: Task, examples: Sequence[Example]) -> dict[str, int]:
    """Number of rows per label, most frequent first. Empty if the labels are not a closed set."""
    labels = [task.closed_label(example) for example in examples]
    found = Counter(label for label in labels if label is not None)
    return dict(found.most_common()) if found.total() == len(labels) else {}


def check_training_labels(
    location: str, labels: Mapping[str, int], further_down: Mapping[str, int], *, limit: int | None
) -> list[Finding]:
    """Check that the training rows have at least two labels, and the same ones as the whole file.

    Args:
        limit: maximum number of training rows, or None.
        further_down: number of rows per label among those that `limit` leaves out.
    """
    missed = {label: n for label, n in further_down.items() if label not in labels}
    if labels and missed:
        listed = list_some([f"{label!r} {n}" for label, n in missed.items()])
        text = (
            f"{location}: the first {count(limit or 0, 'row')} have no row of {count(len(missed), 'label')} that"
            f" {agree(len(missed), 'comes', 'come')} further down ({listed}): {_guess_why(labels, missed, further_down)}. Set"
            " data.shuffle to a seed, such as 0"
        )
        return [stop(text) if len(labels) == 1 else warn(text)]
    if len(labels) == 1 and sum(labels.values()) > 1:
        (label, n), *_ = labels.items()
        return [
            stop(
                f"{location}: all {count(n, 'row')} have the label {label!r}: there is nothing to tell apart. Add rows of"
                " every label, or name the column of the label in task.columns"
            )
        ]
    return []


def check_held_out_limit(
    split: str, location: str, labels: Mapping[str, int], further_down: Mapping[str, int]
) -> list[Finding]:
    """Check that the rows that a limit keeps have the labels of the whole file."""
    missed = {label: n for label, n in further_down.items() if label not in labels}
    if not labels or not missed:
        return []
    return [
        warn(
            f"{location}: data.{split}_limit leaves out all rows of {count(len(missed), 'label')}"
            f" ({list_some(list(missed))}): {_guess_why(labels, missed, further_down)}. Set data.shuffle to a seed, such as 0,"
            " or raise the limit"
        )
    ]


def _guess_why(labels: Mapping[str, int], missed: Mapping[str, int], further_down: Mapping[str, int]) -> str:
    n_taken, n_rows = sum(labels.values()), sum(labels.values()) + sum(further_down.values())
    by_chance = (1 - max(missed.values()) / n_rows) ** n_taken
    return "the file is sorted" if by_chance < UNLIKELY else "it takes few rows, or the file is sorted"


def check_held_out_labels(
    labels: Mapping[str, Mapping[str, int]], known: Sequence[str], locations: Mapping[str, str]
) -> list[Finding]:
    """Find labels of held-out rows or of the settings that no training row has, and held-out rows with (almost) only one label.

    Args:
        labels: number of rows per label, by split.
        known: labels that the settings name.
        locations: where each split was read from, for messages.
    """
    train = labels.get("train", {})
    if not train:
        return []
    found: list[Finding] = []
    for split in ("validation", "test"):
        if held_out := labels.get(split, {}):
            found += _check_unseen(locations[split], held_out, train)
            found += _check_lopsided(locations[split], held_out, train)
    if never := [label for label in known if label not in train and label not in labels.get("validation", {})]:
        found.append(warn(f"task.labels: no training or validation row has {list_some(list(map(repr, never)))}"))
    return found


def _check_unseen(location: str, held_out: Mapping[str, int], train: Mapping[str, int]) -> list[Finding]:
    unseen = {label: n for label, n in held_out.items() if label not in train}
    if unseen and len(unseen) == len(held_out):
        return [
            stop(
                f"{location}: no row has a label of the training rows ({list_some(list(map(repr, unseen)))}; training rows have"
                f" {list_some(list(map(repr, train)))}). Use files of the same task"
            )
        ]
    listed = list_some([f"{label!r} {count(n, 'row')}" for label, n in unseen.items()])
    return [warn(f"{location}: labels that no training row has: {listed}")] if unseen else []


def _check_lopsided(location: str, held_out: Mapping[str, int], train: Mapping[str, int]) -> list[Finding]:
    label, n = max(held_out.items(), key=lambda item: item[1])
    n_rows = sum(held_out.values())
    if len(train) < 2 or n_rows < 2 or n < LOPSIDED * n_rows:
        return []
    which = f"all {n_rows} rows" if n == n_rows else f"{n} of {n_rows} rows"
    return [warn(f"{location}: {which} have the label {label!r}: a student that always gives this label looks good")]


def check_answers(location: str, examples: Sequence[Example], task: Task) -> list[Finding]:
    """Check that right answers differ at all, for tasks without a closed label set."""
    golds = {task.gold(example) for example in examples} if len(examples) > 2 else set()
    learned = {example.answer for example in examples}
    if len(golds) != 1 and (len(examples) < 3 or len(learned) != 1):
        return []
    answer = golds.pop() if len(golds) == 1 else learned.pop()
    shown = answer if len(answer) <= 60 else f"{answer[:60]}…"
    text = (
        f"{location}: the right answer is {shown!r} in all {len(examples)} rows: there is nothing to tell apart."
        " Name the column of the answer in task.columns"
    )
    return [stop(text) if len(examples) >= NO_ACCIDENT else warn(text)]
