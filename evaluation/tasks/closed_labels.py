"""Reads labels of a closed set from rows."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from pada_agent.core.config import TaskConfig
from pada_agent.core.errors import DatasetError
from pada_agent.core.raw_rows import Settled
from pada_agent.evaluation.rows.options import Options
from pada_agent.evaluation.tasks.gold_option import (
    READINGS,
    GoldReading,
    GoldSeen,
    describe_gold,
    find_gold,
    find_spelled,
    settle_gold,
)
from pada_agent.evaluation.tasks.row_reader import RowReader


def settle_labels(seen: Sequence[GoldSeen], settled: Sequence[Settled], config: TaskConfig) -> list[Settled]:
    """The forms of the files, with the way in which all of their rows name their label.

    Raises:
        DatasetError: there is no single way in which all rows name it.
    """
    if config.gold_is != "auto":
        return [form.model_copy(update={"gold_is": config.gold_is}) for form in settled]
    reading = settle_gold(seen) if seen else "label"
    if reading != "label":
        _refuse_other_names(seen, reading)
    return [form.model_copy(update={"gold_is": reading}) for form in settled]


def read_label(reader: RowReader, config: TaskConfig) -> str:
    """The row's label.

    Raises:
        DatasetError: the row has none.
    """
    seen = see_label(reader, config)
    reading: GoldReading = reader.settled.gold_is or "label"
    found = find_gold(seen, reading)
    if found is None:
        reader.fail("answer", describe_gold(seen))
    return seen.options.labels[found]


def see_label(reader: RowReader, config: TaskConfig) -> GoldSeen:
    """What the row says about its label, after `task.label_values` was applied."""
    labels = tuple(config.labels)
    return GoldSeen(
        where=reader.where,
        field=reader.name("answer"),
        value=_translate(only_one(reader.value("answer")), config),
        options=Options(labels=labels, texts=labels, has_labels=True),
        closed=True,
        named=tuple(list_named(reader, labels)),
    )


def list_named(reader: RowReader, texts: tuple[str, ...]) -> Iterator[tuple[str, int]]:
    """Columns that are called like the answer's and `text` or `name` (`label_text`), and which of the texts they hold. Others,
    such as `answer_a`, `wrong_answer` and `predicted_label`, say something else.
    """
    names = "|".join(map(re.escape, reader.columns("answer")))
    for column, value in reader.fields.items():
        is_beside = re.fullmatch(rf"(?:{names})[\W_]*(?:text|name|str(?:ing)?)", column, re.IGNORECASE)
        if is_beside and isinstance(value, str) and (found := find_spelled(value, texts)) is not None:
            yield column, found


def _refuse_other_names(seen: Sequence[GoldSeen], reading: GoldReading) -> None:
    """Refuse positions where another column names another label: `task.labels` is then in another order than the values.

    Raises:
        DatasetError: names the first such row.
    """
    for gold in seen:
        found, labels = find_gold(gold, reading), gold.options.labels
        for column, other in gold.named:
            if found not in (None, other):
                raise DatasetError(
                    f"{gold.where}: field {gold.field} is {gold.value!r}, which as {READINGS[reading]} is {labels[found or 0]!r},"
                    f" but {column!r} is {labels[other]!r}. Set task.columns: {{answer: {column}}}, or list task.labels in the"
                    " order of the values"
                )


def only_one(value: Any) -> Any:
    """The only member of a list of one. Anything else is returned unchanged."""
    return value[0] if isinstance(value, list | tuple) and len(value) == 1 else value


def _translate(value: Any, config: TaskConfig) -> Any:
    found = find_spelled(value, tuple(config.label_values)) if config.label_values else None
    return value if found is None else list(config.label_values.values())[found]
