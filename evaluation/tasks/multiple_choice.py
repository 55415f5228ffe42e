"""Questions with options: the row's own, or one closed set of labels for all rows."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from random import Random
from typing import Any, ClassVar, NamedTuple

import yaml

from pada_agent.core.config import TaskConfig
from pada_agent.core.errors import ConfigError, RowError
from pada_agent.core.raw_rows import RawRow, Settled
from pada_agent.core.records import Confusion, Example, Prediction, Verdict
from pada_agent.evaluation.rows.cells import cell_text, to_nfc
from pada_agent.evaluation.rows.forms import GOLD, Fields, Header
from pada_agent.evaluation.rows.options import OptionsProblem, find_option_columns, read_option_columns, read_options
from pada_agent.evaluation.task import DraftProblem, OpenQuestion, Task
from pada_agent.evaluation.tasks.closed_labels import list_named, only_one, read_label, see_label, settle_labels
from pada_agent.evaluation.tasks.drafts import (
    CLOSED_VARIETY,
    assign_label,
    find_empty_field,
    keep_turns,
    tell_turns,
    whole_question,
)
from pada_agent.evaluation.tasks.gold_option import (
    GoldReading,
    GoldSeen,
    describe_gold,
    find_doubt,
    find_gold,
    settle_gold,
)
from pada_agent.evaluation.tasks.instruction import instruct
from pada_agent.evaluation.tasks.row_reader import RowReader
from pada_agent.evaluation.text_units import signs_of
from pada_agent.evaluation.verifiers.option_label import find_closed_label, find_label, label_at
from pada_agent.evaluation.verifiers.solver_answer import pick_option
from pada_agent.evaluation.verifiers.text import normalize_text, same_text


class Choices(NamedTuple):
    """A row's options. If `closed`, they are the same for all rows, and each text is its own label."""

    texts: tuple[str, ...]
    labels: tuple[str, ...]
    gold: int
    closed: bool = False

    @property
    def gold_text(self) -> str:
        return self.texts[self.gold]

    @property
    def wrong_texts(self) -> tuple[str, ...]:
        return self.texts[: self.gold] + self.texts[self.gold + 1 :]


class MultipleChoice(Task):
    """Multiple choice, by option text (likelihood) or by label (generated), as `config.answers` says.

    A row with its own options (`choices` may also be a list of strings, JSON in a cell, or one column per option):

        {"question": "Which of these melts first on a warm day?", "answerKey": "B",
         "choices": [{"label": "A", "text": "a candle"}, {"label": "B", "text": "an ice cube"}]}

    A row for a closed set, whose labels and definitions are in `config.labels`:

        {"question": "My card has not come back from the repair desk.", "answer": "lost_item"}

    All rows name the right option in the same way: by its label, its text, or its position (`gold_option`).

    As in lm-evaluation-harness, `text` asks only the question and scores every option's text; `label` lists the
    options.
    """

    name: ClassVar[str] = "multiple_choice"
    max_new_tokens = 16
    offers_options = True
    question_fields: ClassVar[tuple[str, ...]] = ("question",)
    gold_is: ClassVar[GoldReading | None] = None
    """How the rows of a known data set name the right option."""
    label_instruction: ClassVar[str] = "Answer with the label of the right option only."
    question_hint: ClassVar[str] = "the question only, without its options"
    option_hint: ClassVar[str] = "the text of the option, without a label"

    def __init__(self, config: TaskConfig) -> None:
        if len(config.labels) == 1:
            raise ConfigError("task.labels: one label leaves nothing to choose; give two or more, or none")
        fields = {"question": self.question_fields, "answer": _GOLD_COLUMNS}
        self.fields: Fields = fields if config.labels else {**fields, "choices": _CHOICE_COLUMNS}
        super().__init__(config)
        if config.labels:
            self.variety = CLOSED_VARIETY

    def settle(self, files: Sequence[Sequence[RawRow]]) -> list[Settled]:
        settled = super().settle(files)
        if self.config.labels:
            seen = self.look_at(files, settled, partial(see_label, config=self.config))
            return settle_labels(seen, settled, self.config)
        if self.name == MultipleChoice.name and not any("choices" in form.columns for form in settled):
            self._ask_for_labels(files, settled)
        reading = self.config.gold_is if self.config.gold_is != "auto" else self._settle_gold(files, settled)
        return [form.model_copy(update={"gold_is": reading}) for form in settled]

    def find_form(self, rows: Sequence[RawRow]) -> Settled:
        form = super().find_form(rows)
        return form if self.config.labels else _find_choices(rows, form)

    def _ask_for_labels(self, files: Sequence[Sequence[RawRow]], settled: Sequence[Settled]) -> None:
        """Refuse rows without options, and say what belongs into the settings if all rows have the same ones."""
        answers = self.look_at(files, settled, lambda reader: cell_text(only_one(reader.value("answer"))))
        for reader in self.look_at(files, settled, lambda reader: reader)[:1]:
            try:
                reader.first("choices")
            except RowError as exc:
                way_out = f"If all rows have the same options, list them in task.labels{_list_labels(answers)}"
                raise RowError(exc.where, f"{exc.reason} {way_out}", exc.kind) from exc

    def _settle_gold(self, files: Sequence[Sequence[RawRow]], settled: Sequence[Settled]) -> GoldReading:
        """The benchmark's own reading if it fits every row, because copies of a benchmark may name the right option differently."""
        seen = self.look_at(files, settled, self._see)
        if self.gold_is and all(find_gold(gold, self.gold_is) is not None for gold in seen):
            return self.gold_is
        return settle_gold(seen) if seen else "label"

    def read(self, row: RawRow) -> Example:
        reader = self.reader(row)
        question = reader.text("question")
        choices = self._read_closed(reader) if self.config.labels else self._read_open(reader)
        asked = question if choices.closed else "\n".join([question, *choices.texts])
        return reader.with_turns(self._build(question, choices, reader.row_id(asked, choices.gold_text)))

    def verify(self, example: Example, prediction: Prediction) -> Verdict:
        return _verify_chosen(example, prediction) if example.options else _verify_written(example, prediction)

    def draft_fields(self) -> dict[str, str]:
        return self._fields(n_wrong=3)

    def draft_fields_for(self, sources: Sequence[Example]) -> dict[str, str]:
        """The fields of a draft, with as many wrong options as the source that has the most."""
        return self._fields(n_wrong=max(len(_choices_of(s).wrong_texts) for s in sources))

    def _fields(self, n_wrong: int) -> dict[str, str]:
        if self.config.labels:
            return {"question": "the whole new message, as a person would write it to us, without naming its label"}
        wrong = {f"wrong_{i}": f"{self.option_hint}: wrong, but tempting" for i in range(1, n_wrong + 1)}
        return {"question": self.question_hint, "correct": f"{self.option_hint}: the right one", **wrong}

    def show(self, example: Example) -> dict[str, str]:
        choices = _choices_of(example)
        question = {"question": example.reference["question"]}
        if choices.closed:
            facts = {"label": choices.gold_text, "definition": self.config.labels[choices.gold_text]}
            return question | facts | tell_turns(example)
        wrong = {f"wrong_{i}": text for i, text in enumerate(choices.wrong_texts, start=1)}
        return question | {"correct": choices.gold_text} | wrong | tell_turns(example)

    def assign(self, source: Example, confusions: Sequence[Confusion], rng: Random) -> dict[str, str]:
        label = self.closed_label(source)
        facts = {} if label is None else assign_label(self.config.labels, label, confusions, rng)
        return facts | tell_turns(source)

    def compose(
        self, draft: Mapping[str, str], *, source: Example, given: Mapping[str, str], example_id: str
    ) -> Example | DraftProblem:
        """The options are shuffled by `example_id`, so that their order reveals nothing.

        A draft may have fewer wrong options than its source. If it has more, the first ones are used.
        """
        label = self.closed_label(source)
        choices = _draft_open(draft, source, example_id) if label is None else self._closed(given.get("label", label))
        if isinstance(choices, DraftProblem):
            return choices
        problem = find_empty_field(draft, ["question"])
        return problem or keep_turns(source, self._build(to_nfc(draft["question"].strip()), choices, example_id))

    def gold(self, example: Example) -> str:
        choices = _choices_of(example)
        if choices.closed or self.config.answers == "text":
            return choices.gold_text
        return f"{choices.labels[choices.gold]}. {choices.gold_text}"

    def sort_options(self, example: Example) -> Example:
        choices = _choices_of(example)
        if choices.closed:
            return example
        texts = tuple(sorted(choices.texts, key=lambda text: (signs_of(text), text)))
        in_order = Choices(texts, tuple(map(label_at, range(len(texts)))), texts.index(choices.gold_text))
        return keep_turns(example, self._build(example.reference["question"], in_order, example.id))

    def misanswer(self, example: Example, other: Example) -> dict[str, str]:
        """For a row with its own options, the right one and a wrong one trade places."""
        if _choices_of(example).closed:
            return super().misanswer(example, other)
        shown = self.show(example)
        return {**shown, "correct": shown["wrong_1"], "wrong_1": shown["correct"]}

    def misanswered(self, example: Example, other: Example) -> Example:
        choices = _choices_of(example)
        if choices.closed:
            return other
        wrong = choices.texts.index(choices.wrong_texts[0])
        return example.model_copy(update={"reference": {**example.reference, "gold": wrong}})

    def pose(self, example: Example, rng: Random) -> OpenQuestion:
        choices = _choices_of(example)
        options = tuple(rng.sample(choices.texts, len(choices.texts)))
        notes = dict(self.config.labels) if choices.closed else {}
        return OpenQuestion(question=whole_question(example), options=options, notes=notes)

    def agrees(self, example: Example, answer: str, posed: OpenQuestion) -> bool:
        return pick_option(answer, posed.options) == _choices_of(example).gold_text

    def chance(self, example: Example) -> float:
        return 1 / len(_choices_of(example).texts)

    def closed_label(self, example: Example) -> str | None:
        choices = _choices_of(example)
        return choices.gold_text if choices.closed else None

    def _read_closed(self, reader: RowReader) -> Choices:
        labels = tuple(self.config.labels)
        return Choices(labels, labels, labels.index(read_label(reader, self.config)), closed=True)

    def _read_open(self, reader: RowReader) -> Choices:
        seen = self._see(reader)
        gold = find_gold(seen, reader.settled.gold_is or "label")
        if gold is None:
            reader.fail("answer", describe_gold(seen))
        if doubt := find_doubt(seen, gold, names_count=self.config.gold_is == "auto"):
            reader.fail("answer", doubt)
        return Choices(seen.options.texts, seen.options.labels, gold)

    def _see(self, reader: RowReader) -> GoldSeen:
        """The row's options, and what it says about the right one."""
        columns = reader.columns("choices")
        try:
            if len(columns) > 1:
                options = read_option_columns(reader.fields, columns, reader.settled.missing)
            else:
                options = read_options(reader.value("choices"))
        except OptionsProblem as exc:
            reader.fail("choices", str(exc))
        named = tuple(list_named(reader, options.texts))
        return GoldSeen(reader.where, reader.name("answer"), only_one(reader.value("answer")), options, named=named)

    def _closed(self, label: str) -> Choices | DraftProblem:
        labels = tuple(self.config.labels)
        if label not in labels:
            return DraftProblem(reason=f"'{label}' is not one of the labels {', '.join(labels)}")
        return Choices(labels, labels, labels.index(label), closed=True)

    def _build(self, question: str, choices: Choices, example_id: str) -> Example:
        by_text = self.config.answers == "text"
        reference: dict[str, Any] = {
            "question": question,
            "choices": list(choices.texts),
            "labels": list(choices.labels),
            "gold": choices.gold,
            "closed": choices.closed,
        }
        return Example(
            id=example_id,
            prompt=instruct(self.config.instruction, question) if by_text else self._list_options(question, choices),
            answer=choices.gold_text if by_text else choices.labels[choices.gold],
            options=choices.texts if by_text else (),
            reference=reference,
        )

    def _list_options(self, question: str, choices: Choices) -> str:
        listed = "\n".join(
            label if choices.closed else f"{label}. {text}"
            for label, text in zip(choices.labels, choices.texts, strict=True)
        )
        return instruct(self.config.instruction or self.label_instruction, f"{question}\n\n{listed}")


def _list_labels(answers: Sequence[str | None]) -> str:
    """How the setting may be written, if the answers look like labels."""
    labels = sorted({to_nfc(answer).strip() for answer in answers if answer})
    if not 2 <= len(labels) <= min(_MANY_LABELS, len(answers) // 2):
        return ""
    shown = yaml.safe_dump(
        labels[:_N_LABELS_SHOWN], default_flow_style=True, allow_unicode=True, width=math.inf
    ).strip()
    return f": {shown}" if len(labels) <= _N_LABELS_SHOWN else f": {shown[:-1]}, …] ({len(labels)} in all)"


_N_LABELS_SHOWN = 10
_MANY_LABELS = 200
"""More different answers are hardly labels."""
_GOLD_COLUMNS = ("answerKey", *GOLD, "answer_idx", "answer_index", "correct_index", "correct_answer_index")
_CHOICE_COLUMNS = ("choices", "endings", "options")


def _choices_of(example: Example) -> Choices:
    reference = example.reference
    return Choices(
        tuple(reference["choices"]), tuple(reference["labels"]), int(reference["gold"]), bool(reference["closed"])
    )


def _find_choices(rows: Sequence[RawRow], settled: Settled) -> Settled:
    """Add the options' columns if no single column holds them all."""
    if "choices" in settled.columns:
        return settled
    taken = {column for columns in settled.columns.values() for column in columns}
    columns = find_option_columns([name for name in Header(rows, settled.missing).filled if name not in taken])
    return settled.model_copy(update={"columns": {**settled.columns, "choices": columns}}) if columns else settled


def _verify_chosen(example: Example, prediction: Prediction) -> Verdict:
    """For likelihood scoring: the response is the option with the highest score."""
    scores, chosen, gold = prediction.option_scores, prediction.response, _choices_of(example).gold_text
    if scores and (len(scores) != len(example.options) or not all(map(math.isfinite, scores))):
        reason = f"expected {len(example.options)} finite option scores, got {list(scores)}"
        return Verdict(example_id=example.id, value="unscored", reason=reason)
    if chosen not in example.options:
        return Verdict(example_id=example.id, value="unscored", extracted=chosen, reason="the response is no option")
    return _compare(example, repr(chosen), repr(gold), extracted=chosen)


def _verify_written(example: Example, prediction: Prediction) -> Verdict:
    choices, response = _choices_of(example), prediction.response
    is_closed = choices.closed
    found = (
        find_closed_label(response, choices.labels)
        if is_closed
        else find_label(response, choices.labels, choices.texts)
    )
    gold = choices.labels[choices.gold]
    if found.label is None:
        return Verdict(example_id=example.id, value="wrong", reason=f"{found.reason}; right is {gold}")
    is_same = choices.texts[choices.labels.index(found.label)] == choices.gold_text  # an option may be there twice
    return _compare(example, gold if is_same else found.label, gold, extracted=found.label)


def _compare(example: Example, chosen: str, gold: str, *, extracted: str) -> Verdict:
    if chosen == gold:
        return Verdict(example_id=example.id, value="correct", extracted=extracted)
    reason = f"chose {chosen}, right is {gold}"
    return Verdict(example_id=example.id, value="wrong", extracted=extracted, reason=reason)


def _draft_open(draft: Mapping[str, str], source: Example, example_id: str) -> Choices | DraftProblem:
    original = _choices_of(source)
    names = [f"wrong_{i}" for i in range(1, len(original.texts)) if f"wrong_{i}" in draft]
    problem = find_empty_field(draft, ["correct", *(names or ["wrong_1"])])
    if problem:
        return problem
    correct, wrong = to_nfc(draft["correct"].strip()), [to_nfc(draft[name].strip()) for name in names]
    if any(same_text(correct, text) for text in wrong):
        return DraftProblem(reason=f"the correct option '{correct}' is also among the wrong ones")
    if len({normalize_text(text) for text in wrong}) < len(wrong):
        return DraftProblem(reason="two of the wrong options are the same")
    texts = [correct, *wrong]
    Random(example_id).shuffle(texts)
    return Choices(tuple(texts), original.labels[: len(texts)], texts.index(correct))
