"""The settings of a task, and of how rows are read for it."""

import re
import unicodedata
from datetime import date
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from pada_agent.core.setting_texts import Prose
from pada_agent.core.settings import Settings
from pada_agent.core.suggestions import suggest

Columns = dict[str, str | tuple[str, ...]]
"""Maps our field name to the column, or columns, that hold it."""

MISSING = (
    *("nan", "NaN", "<NA>", "NaT"),
    *("#N/A", "#NA", "#N/A N/A", "#REF!", "#VALUE!", "#DIV/0!", "#NAME?", "#NULL!", "#NUM!"),
)
"""What pandas and Excel write where a value is missing. `None` and `NA` are not in the list, because they are also words."""


_NUMBER = re.compile(r"\s*[-+]?\d+(?:\.0*)?\s*", re.ASCII)


class TaskConfig(Settings):
    """What the student is asked, and what counts as right."""

    name: str = "multiple_choice"
    """Name of a built-in task, or of one from another package (entry point group `pada_agent.tasks`)."""
    answers: Literal["text", "label"] = "text"
    """Multiple choice: `text` picks the option whose text has the highest length-normalized likelihood; `label` has the student write the option's
    label."""
    instruction: Prose = ""
    """Text placed before every question, in both training and evaluation."""
    labels: dict[str, str] = Field(default_factory=dict)
    """Closed label set, as label to definition, for rows that do not carry their own choices. Definitions are shown to the teacher; the student sees
    the labels at most."""
    label_values: dict[str, str] = Field(default_factory=dict)
    """Maps the values found in the rows to the labels they stand for, if rows do not hold the labels themselves, e.g.
    `{0: negative, 1: positive}`."""
    gold_is: Literal["auto", "label", "text", "index", "index_from_1"] = "auto"
    """How rows identify the right option or label: by its label, its text or its position. `auto` decides from all rows, and stops if the answer is
    ambiguous."""
    columns: Columns = Field(default_factory=dict)
    """Maps our field names to the columns that hold them, e.g. `{question: text, answer: queue}`. A list joins several columns, or gives one option
    per column for `choices`."""
    missing: tuple[str, ...] = MISSING
    """Texts that count as an empty cell, unless they are labels. By default, what pandas and Excel write where a value is missing."""
    decimal_mark: Literal["auto", "point", "comma"] = "auto"
    """Numeric tasks: the decimal separator used in the rows. `auto` decides from all rows: from their answers, then from the
    calculations of their rationales. It stops if a number could be read either way."""
    no_answer: str = ""
    """Extraction: what the student should say when the passage has no answer (SQuAD 2.0), e.g. `no answer`. Empty: every question has an answer."""
    database: str = ""
    """Task `sql`: the SQLite file that all rows refer to, or the folder that must contain the databases named by the rows. If empty, names are
    looked up in the folder of the data file, then in the working directory."""
    sample_values: int = Field(default=0, ge=0, le=50)
    """Task `sql`: number of example values per column that the student sees below the schema. The writer of new rows always sees some."""
    show_tables: bool = True
    """Task `sql`: show the student the database's tables before the question. Without them prompts are much shorter, and a student fine-tuned on a
    single database learns its tables from the rows."""
    query_seconds: float = Field(default=5, gt=0, le=600)
    """Task `sql`: maximum processor time in seconds for one query; a query that takes longer counts as wrong. Our default: 5, the same as for
    programs."""
    allow_unisolated_code: bool = False
    """Tasks that run programs: continue even if this machine cannot keep them away from your files, keys and network (not Linux, or Linux without
    Landlock or seccomp). Only use this on a machine that holds nothing worth protecting."""
    turns: Literal["last", "all"] = "last"
    """What to learn from training rows with several turns: the `last` answer only, or `all` answers (each as a row of its own). Validation and test
    always ask for the last answer."""
    description: Prose = ""
    """One or two sentences that tell the LLM agents what the task is and who asks the questions."""

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
            if not label.strip():
                raise ValueError(
                    "a label is empty: give it a name, and map it in task.label_values if rows leave it empty"
                )
            other = folded.setdefault(_fold(label), label)
            if other != label:
                raise ValueError(
                    f"{other!r} and {label!r} differ only by case or spaces, so answers could not be told apart"
                )
        return labels

    @field_validator("labels")
    @classmethod
    def _refuse_values(cls, labels: dict[str, str]) -> dict[str, str]:
        """Numbers in place of definitions are what rows hold (`label2id`), and would be shown as definitions."""
        if labels and all(map(_NUMBER.fullmatch, labels.values())):
            values = ", ".join(f"{number}: {label}" for label, number in [*labels.items()][:3])
            more = ", …" if len(labels) > 3 else ""
            raise ValueError(
                "the definitions are numbers, which say nothing about a label. If they are the values in the rows, list the"
                f" labels alone, and set task.label_values: {{{values}{more}}}"
            )
        return labels

    @field_validator("label_values", mode="before")
    @classmethod
    def _name_values(cls, values: Any) -> Any:
        return _write_mapping(values)

    @model_validator(mode="after")
    def _find_label_values(self) -> Self:
        """Each value has to stand for one of the labels."""
        folded = {_fold(label) for label in self.labels}
        for value, label in self.label_values.items() if self.labels else ():
            if _fold(label) not in folded:
                raise ValueError(
                    f"label_values: {value!r} stands for {label!r}, but the labels are {', '.join(self.labels)}."
                    f"{suggest(label, self.labels)}"
                )
        return self

    @field_validator("columns", mode="before")
    @classmethod
    def _name_columns(cls, columns: Any) -> Any:
        if not isinstance(columns, dict):
            return columns
        names = {
            k: [write_key(n) for n in v] if isinstance(v, list | tuple) else write_key(v) for k, v in columns.items()
        }
        return _rename(names)


def _fold(label: str) -> str:
    return " ".join(label.casefold().split())


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
    return _rename({key: "" if value is None else write_key(value) for key, value in values.items()})


def _rename(values: dict[Any, Any]) -> dict[Any, Any]:
    """The mapping with its keys as `write_key` writes them, which may be the same for two keys."""
    renamed: dict[Any, Any] = {}
    for key, value in values.items():
        if (name := write_key(key)) in renamed:
            raise ValueError(f"{name!r} appears twice, written in two ways that look the same. Remove one")
        renamed[name] = value
    return renamed
