"""The settings of a task, and of how rows are read for it."""

import unicodedata
from datetime import date
from typing import Any, Literal

from pydantic import Field, field_validator

from pada_agent.core.settings import Settings

Columns = dict[str, str | tuple[str, ...]]
"""Our field name to the column, or the columns, that hold it."""

MISSING = (
    *("nan", "NaN", "<NA>", "NaT"),
    *("#N/A", "#NA", "#N/A N/A", "#REF!", "#VALUE!", "#DIV/0!", "#NAME?", "#NULL!", "#NUM!"),
)
"""What pandas and Excel write where a value is missing. `None` and `NA` are words as well, and stay."""


class TaskConfig(Settings):
    """What is asked and what counts as right."""

    name: str = "multiple_choice"
    """Built-in task or an entry point of the group `pada_agent.tasks`."""
    answers: Literal["text", "label"] = "text"
    """Multiple choice: `text` picks the option's text by length-normalized likelihood, `label` has the student write the option's label."""
    instruction: str = ""
    """Put before every question, in training and in evaluation alike."""
    labels: dict[str, str] = Field(default_factory=dict)
    """Closed label set, label to definition, for rows that do not carry their own choices. The teacher sees the definitions, the student the labels at most."""
    label_values: dict[str, str] = Field(default_factory=dict)
    """What rows hold to the label that it means, where it is not the label itself, e.g. `{0: negative, 1: positive}`."""
    gold_is: Literal["auto", "label", "text", "index", "index_from_1"] = "auto"
    """How rows name the right option or label: by its label, its text, or its position. `auto` settles it from all rows and refuses what could be either."""
    columns: Columns = Field(default_factory=dict)
    """Our field name to the column that holds it, e.g. `{question: text, answer: queue}`; a list joins columns, or for `choices` gives one option each."""
    missing: tuple[str, ...] = MISSING
    """Texts that count as an empty cell, unless they are labels: what pandas and Excel leave where a value is missing."""
    decimal_mark: Literal["auto", "point", "comma"] = "auto"
    """Numeric tasks: what separates decimals in the rows. `auto` settles it from all rows and refuses what could be either."""
    no_answer: str = ""
    """Extraction: what the student says where the passage has no answer (SQuAD 2.0), e.g. `no answer`; empty: every question has one."""
    database: str = ""
    """Task `sql`: the SQLite file that all rows are about, or the folder in which rows' own names for theirs are looked up (and must lie).
    Empty: seen from the folder of the data file, then from the working directory."""
    sample_values: int = Field(default=0, ge=0, le=50)
    """Task `sql`: values of each column that the student is shown under the schema. The writer of new rows always sees some."""
    show_tables: bool = True
    """Task `sql`: the student sees the tables of the database before the question. Without them a prompt is much shorter, and a student
    that is fine-tuned on one database learns its tables from the rows."""
    query_seconds: float = Field(default=5, gt=0, le=600)
    """Task `sql`: time that one query may take; one that takes longer is wrong. Ours: 5, as for programs."""
    allow_unisolated_code: bool = False
    """Tasks that run programs: go on where the machine cannot keep them from your files, keys and network (no Linux, or one
    without Landlock or seccomp). Only where nothing on the machine is worth protecting."""
    turns: Literal["last", "all"] = "last"
    """Training rows of several turns: the last answer is learned, or every one (each as a row of its own). Validation and test ask for the last."""
    description: str = ""
    """One or two sentences for the LLM agents: what the task is and who asks."""

    @field_validator("labels", mode="before")
    @classmethod
    def _name_labels(cls, labels: Any) -> Any:
        """A list has no definitions; keys may be numbers and booleans, as YAML reads them."""
        if isinstance(labels, list | tuple):
            names = [write_key(label) for label in labels]
            if strange := next((n for n in names if not isinstance(n, str)), None):
                raise ValueError(f"a name in the list is not a text: {strange}")
            if repeated := next((n for i, n in enumerate(names) if n in names[:i]), None):
                raise ValueError(f"{repeated!r} is in the list twice")
            return dict.fromkeys(names, "")
        return _write_mapping(labels)

    @field_validator("labels")
    @classmethod
    def _tell_labels_apart(cls, labels: dict[str, str]) -> dict[str, str]:
        folded: dict[str, str] = {}
        for label in labels:
            other = folded.setdefault(" ".join(label.casefold().split()), label)
            if other != label:
                raise ValueError(
                    f"{other!r} and {label!r} differ only by case or spaces, so answers could not be told apart"
                )
        return labels

    @field_validator("label_values", mode="before")
    @classmethod
    def _name_values(cls, values: Any) -> Any:
        return _write_mapping(values)

    @field_validator("columns", mode="before")
    @classmethod
    def _name_columns(cls, columns: Any) -> Any:
        if not isinstance(columns, dict):
            return columns
        names = {
            k: [write_key(n) for n in v] if isinstance(v, list | tuple) else write_key(v) for k, v in columns.items()
        }
        return {write_key(key): name for key, name in names.items()}


def write_key(key: Any) -> Any:
    """A name as text: YAML reads `1` as a number and `true` as a boolean."""
    if isinstance(key, bool):
        return "true" if key else "false"
    if isinstance(key, int | float | date):
        return str(key)
    if key is None:
        raise ValueError("a name is empty (null): put it in quotes if it is a word")
    return unicodedata.normalize("NFC", key) if isinstance(key, str) else key


def _write_mapping(values: Any) -> Any:
    if not isinstance(values, dict):
        return values
    return {write_key(key): "" if value is None else write_key(value) for key, value in values.items()}
