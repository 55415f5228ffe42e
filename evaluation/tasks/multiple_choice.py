"""Questions with options: the row's own, or one closed set of labels for all rows."""

from collections.abc import Mapping, Sequence
from math import isfinite
from random import Random
from typing import Any, ClassVar, NamedTuple

from pada_agent.core.config import TaskConfig
from pada_agent.core.errors import ConfigError
from pada_agent.core.ports import RawRow
from pada_agent.core.records import Confusion, Example, Prediction, Verdict
from pada_agent.evaluation.task import DraftProblem, OpenQuestion, Task
from pada_agent.evaluation.tasks.drafts import assign_label, find_empty_field
from pada_agent.evaluation.tasks.gold_option import find_gold
from pada_agent.evaluation.tasks.instruction import instruct
from pada_agent.evaluation.tasks.row_reader import RowReader
from pada_agent.evaluation.verifiers.option_label import find_closed_label, find_label, label_at, pick_option
from pada_agent.evaluation.verifiers.text import normalize_text, same_text


class Choices(NamedTuple):
    """A row's options; `closed` when they are the same for all rows, and then text and label are one."""

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

    A row with its own options (`choices` may also be a list of strings, or be called `endings`):

        {"question": "Which of these melts first on a warm day?", "answerKey": "B",
         "choices": [{"label": "A", "text": "a candle"}, {"label": "B", "text": "an ice cube"}]}

    A row for a closed set, whose labels and definitions stand in `config.labels`:

        {"question": "My card has not come back from the repair desk.", "answer": "lost_item"}

    As in lm-evaluation-harness, `text` asks the question alone and scores every option's text; `label` lists them.
    """

    name: ClassVar[str] = "multiple_choice"
    max_new_tokens = 16
    question_fields: ClassVar[tuple[str, ...]] = ("question",)
    label_instruction: ClassVar[str] = "Answer with the label of the right option only."
    question_hint: ClassVar[str] = "the question only, without its options"
    option_hint: ClassVar[str] = "the text of the option, without a label"

    def __init__(self, config: TaskConfig) -> None:
        if len(config.labels) == 1:
            raise ConfigError("task.labels: one label leaves nothing to choose; give two or more, or none")
        super().__init__(config)

    def read(self, row: RawRow) -> Example:
        reader = RowReader(row, self.config.columns)
        question = reader.text(*self.question_fields)
        choices = self._read_closed(reader) if self.config.labels else _read_open(reader)
        return self._build(question, choices, reader.row_id(question, choices.gold_text))

    def verify(self, example: Example, prediction: Prediction) -> Verdict:
        return _verify_chosen(example, prediction) if example.options else _verify_written(example, prediction)

    def draft_fields(self) -> dict[str, str]:
        return self._fields(n_wrong=3)

    def draft_fields_for(self, sources: Sequence[Example]) -> dict[str, str]:
        """As many wrong options as the source with the most has."""
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
            return question | {"label": choices.gold_text, "definition": self.config.labels[choices.gold_text]}
        wrong = {f"wrong_{i}": text for i, text in enumerate(choices.wrong_texts, start=1)}
        return question | {"correct": choices.gold_text} | wrong

    def assign(self, source: Example, confusions: Sequence[Confusion], rng: Random) -> dict[str, str]:
        label = self.closed_label(source)
        return {} if label is None else assign_label(self.config.labels, label, confusions, rng)

    def compose(
        self, draft: Mapping[str, str], *, source: Example, given: Mapping[str, str], example_id: str
    ) -> Example | DraftProblem:
        """The options are shuffled by `example_id`, so that their order tells nothing.

        A draft may hold fewer wrong options than the source; of more, the first are used.
        """
        label = self.closed_label(source)
        choices = _draft_open(draft, source, example_id) if label is None else self._closed(given.get("label", label))
        if isinstance(choices, DraftProblem):
            return choices
        return find_empty_field(draft, ["question"]) or self._build(draft["question"].strip(), choices, example_id)

    def gold(self, example: Example) -> str:
        choices = _choices_of(example)
        if choices.closed or self.config.answers == "text":
            return choices.gold_text
        return f"{choices.labels[choices.gold]}. {choices.gold_text}"

    def misanswer(self, example: Example, other: Example) -> dict[str, str]:
        """With options of its own, the right one and a wrong one change places."""
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
        return OpenQuestion(question=example.reference["question"], options=options, notes=notes)

    def agrees(self, example: Example, answer: str, posed: OpenQuestion) -> bool:
        return pick_option(answer, posed.options) == _choices_of(example).gold_text

    def word_answer(self, answer: str, posed: OpenQuestion) -> str:
        return pick_option(answer, posed.options) or answer.strip()

    def chance(self, example: Example) -> float:
        return 1 / len(_choices_of(example).texts)

    def closed_label(self, example: Example) -> str | None:
        choices = _choices_of(example)
        return choices.gold_text if choices.closed else None

    def _read_closed(self, reader: RowReader) -> Choices:
        field = reader.first(*_GOLD_FIELDS)
        labels = tuple(self.config.labels)
        gold = find_gold(reader.value(field), labels, labels)
        if gold is None:
            reader.fail(field, f"the options are {', '.join(labels)}")
        return Choices(labels, labels, gold, closed=True)

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


_GOLD_FIELDS = ("answerKey", "label", "answer")


def _choices_of(example: Example) -> Choices:
    reference = example.reference
    return Choices(
        tuple(reference["choices"]), tuple(reference["labels"]), int(reference["gold"]), bool(reference["closed"])
    )


def _read_open(reader: RowReader) -> Choices:
    field = reader.first("choices", "endings")
    labels, texts = _read_options(reader, field)
    gold_field = reader.first(*_GOLD_FIELDS)
    gold = find_gold(reader.value(gold_field), labels, texts)
    if gold is None:
        reader.fail(gold_field, f"the options are {', '.join(labels)}")
    return Choices(texts, labels, gold)


def _read_options(reader: RowReader, field: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Labels and texts out of a list of strings, a list of `{label, text}`, or `{label: […], text: […]}` (the hub's ARC)."""
    found = reader.value(field)
    if isinstance(found, Mapping):
        labels, texts = list(found.get("label") or ()), list(found.get("text") or ())
        if len(labels) != len(texts):
            reader.fail(field, "expected as many labels as texts")
        found = [{"label": label, "text": text} for label, text in zip(labels, texts, strict=True)]
    options = list(found) if isinstance(found, list | tuple) else []
    if len(options) < 2:
        reader.fail(field, "expected a list of two or more options")
    pairs = [_read_option(reader, field, option, i) for i, option in enumerate(options)]
    if len({label for label, _ in pairs}) < len(pairs):
        reader.fail(field, "expected a different label for each option")
    return tuple(label for label, _ in pairs), tuple(text for _, text in pairs)


def _read_option(reader: RowReader, field: str, option: Any, index: int) -> tuple[str, str]:
    label, text = (option.get("label"), option.get("text")) if isinstance(option, Mapping) else (None, option)
    if not isinstance(text, str) or not text.strip():
        reader.fail(field, "expected strings, or {label, text} with some text")
    return label_at(index) if label is None else str(label), text


def _verify_chosen(example: Example, prediction: Prediction) -> Verdict:
    """The prediction's response is the option with the highest score."""
    scores, chosen, gold = prediction.option_scores, prediction.response, _choices_of(example).gold_text
    if scores and (len(scores) != len(example.options) or not all(map(isfinite, scores))):
        reason = f"expected {len(example.options)} finite option scores, got {list(scores)}"
        return Verdict(example_id=example.id, value="unscored", reason=reason)
    if chosen not in example.options:
        return Verdict(example_id=example.id, value="unscored", extracted=chosen, reason="the response is no option")
    return _compare(example, repr(chosen), repr(gold), extracted=chosen)


def _verify_written(example: Example, prediction: Prediction) -> Verdict:
    choices = _choices_of(example)
    found = (find_closed_label if choices.closed else find_label)(prediction.response, choices.labels)
    gold = choices.labels[choices.gold]
    if found.label is None:
        return Verdict(example_id=example.id, value="wrong", reason=f"{found.reason}; right is {gold}")
    return _compare(example, found.label, gold, extracted=found.label)


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
    correct, wrong = draft["correct"].strip(), [draft[name].strip() for name in names]
    if any(same_text(correct, text) for text in wrong):
        return DraftProblem(reason=f"the correct option '{correct}' is also among the wrong ones")
    if len({normalize_text(text) for text in wrong}) < len(wrong):
        return DraftProblem(reason="two of the wrong options are the same")
    texts = [correct, *wrong]
    Random(example_id).shuffle(texts)
    return Choices(tuple(texts), original.labels[: len(texts)], texts.index(correct))
