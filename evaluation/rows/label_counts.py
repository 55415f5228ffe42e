"""Labels that rows teach and test: whether there is something to learn, and whether it is what is asked."""

from collections import Counter
from collections.abc import Mapping, Sequence

from pada_agent.core.records import Example
from pada_agent.evaluation.rows.findings import Finding, count, list_some, stop, warn
from pada_agent.evaluation.task import Task


def count_labels(task: Task, examples: Sequence[Example]) -> dict[str, int]:
    """Rows by label, most frequent first; empty where labels do not form a closed set."""
    labels = [task.closed_label(example) for example in examples]
    found = Counter(label for label in labels if label is not None)
    return dict(found.most_common()) if found.total() == len(labels) else {}


def check_training_labels(
    location: str, labels: Mapping[str, int], further_down: Mapping[str, int], *, limit: int | None
) -> list[Finding]:
    """Whether the labels of the training rows can be told apart, and are those of the whole file.

    Args:
        further_down: labels of rows that `limit` leaves out.
    """
    if not labels:
        return []
    missed = {label: n for label, n in further_down.items() if label not in labels}
    if missed:
        told = ", ".join(f"{label!r} {n}" for label, n in list(missed.items())[:5])
        text = (
            f"{location}: the first {count(limit or 0, 'row')} hold no row of {count(len(missed), 'label')} that"
            f" come further down ({told}): the file is sorted. Set data.train_shuffle to a seed, such as 0"
        )
        return [stop(text) if len(labels) == 1 else warn(text)]
    if len(labels) == 1:
        (label, n), *_ = labels.items()
        return [
            stop(
                f"{location}: all {count(n, 'row')} have the label {label!r}: there is nothing to tell apart. Give rows of"
                " every label, or name the column of the label in task.columns"
            )
        ]
    return []


def check_held_out_limit(
    split: str, location: str, labels: Mapping[str, int], further_down: Mapping[str, int]
) -> list[Finding]:
    """Whether the rows that a limit takes have the labels of the whole file."""
    missed = [label for label in further_down if label not in labels]
    if not labels or not missed:
        return []
    return [
        warn(
            f"{location}: data.{split}_limit leaves out all rows of {count(len(missed), 'label')}"
            f" ({list_some(missed)}): the file is sorted. Shuffle it, or raise the limit"
        )
    ]


def check_seen_labels(
    labels: Mapping[str, Mapping[str, int]], known: Sequence[str], locations: Mapping[str, str]
) -> list[Finding]:
    """Labels of held-out rows, or of settings, that no training row has; and held-out rows of one label.

    Args:
        labels: rows by label, by split.
        known: labels that the settings name.
        locations: of the splits, for messages.
    """
    train = labels.get("train", {})
    if not train:
        return []
    found: list[Finding] = []
    for split in ("validation", "test"):
        unseen = {label: n for label, n in labels.get(split, {}).items() if label not in train}
        n_rows = sum(labels.get(split, {}).values())
        if n_rows and sum(unseen.values()) == n_rows:
            found.append(
                stop(
                    f"{locations[split]}: no row has a label that is learned ({list_some(list(unseen))}; training rows have"
                    f" {list_some(list(train))}). Give files of the same task"
                )
            )
        elif unseen:
            told = list_some([f"{label!r} {count(n, 'row')}" for label, n in unseen.items()])
            found.append(warn(f"{locations[split]}: labels that no training row has: {told}"))
        if len(labels.get(split, {})) == 1 and len(train) > 1:
            only = next(iter(labels[split]))
            found.append(
                warn(
                    f"{locations[split]}: all {count(n_rows, 'row')} have the label {only!r}: a student that always says"
                    " so is right everywhere"
                )
            )
    if never := [label for label in known if label not in train and label not in labels.get("validation", {})]:
        found.append(warn(f"task.labels: {list_some(never)}: no training or validation row has {_them(never)}"))
    return found


def check_answers(location: str, examples: Sequence[Example], task: Task) -> list[Finding]:
    """Whether free answers differ at all."""
    golds = {task.gold(example) for example in examples}
    if len(examples) < 2 or len(golds) != 1:
        return []
    (answer,) = golds
    shown = answer if len(answer) <= 60 else f"{answer[:60]}…"
    return [
        stop(
            f"{location}: the right answer is {shown!r} in all {count(len(examples), 'row')}: there is nothing to tell apart."
            " Name the column of the answer in task.columns"
        )
    ]


def _them(labels: Sequence[str]) -> str:
    return "it" if len(labels) == 1 else "them"
