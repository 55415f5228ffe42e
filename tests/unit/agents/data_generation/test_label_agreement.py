"""Whether the label of a written row agrees with what all other rows say."""

from collections.abc import Sequence

import pytest

from pada_agent.agents.data_generation.label_agreement import Agreement, measure_agreement
from pada_agent.agents.data_generation.selection import choose_by_agreement
from pada_agent.core.config import TaskConfig
from pada_agent.core.ports import RawRow
from pada_agent.core.records import Example
from pada_agent.evaluation.tasks.registry import make_task

TASK = make_task(TaskConfig(name="multiple_choice", labels={"cat": "about cats", "dog": "about dogs"}))
WORDS = ("meow", "purr", "bark", "fetch")


class WordEmbedder:
    """A unit vector of how often each of `WORDS` occurs."""

    name = "words"

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        counts = [[float(text.split().count(word)) for word in WORDS] for text in texts]
        return [[c / (sum(x * x for x in row) ** 0.5 or 1) for c in row] for row in counts]


def row(place: str, question: str, label: str) -> Example:
    return TASK.read(RawRow(where=place, fields={"id": place, "question": question, "answer": label}))


TRAINING = [row("t1", "meow", "cat"), row("t2", "bark", "dog")]
WRITTEN = [
    *(row(f"s{i}", "purr", "cat") for i in range(4)),
    *(row(f"s{i}", "fetch", "dog") for i in range(4, 8)),
    row("s8", "fetch", "cat"),
]


def measure(rows: Sequence[Example], training: Sequence[Example] = TRAINING) -> list[Agreement | None]:
    return measure_agreement(rows, training, task=TASK, embedder=WordEmbedder(), seed="0")


def test_written_rows_vouch_for_each_other_where_training_rows_say_nothing() -> None:
    """No training row purrs or fetches."""
    found = measure(WRITTEN)
    assert [agreement is not None and agreement.margin > 0 for agreement in found] == [True] * 8 + [False]
    assert found[8] is not None and found[8].likeliest == "dog"


def test_no_row_vouches_for_itself() -> None:
    (found,) = measure([row("s1", "bark", "cat")])
    assert found is not None and found.margin < 0


def test_the_same_seed_gives_the_same_margins() -> None:
    assert measure(WRITTEN) == measure(WRITTEN)


@pytest.mark.parametrize("training", [[], [TRAINING[0]]], ids=["none", "one label"])
def test_nothing_is_known_of_a_row_if_the_others_have_one_label(training: list[Example]) -> None:
    assert measure([row("s1", "meow", "cat")], training) == [None]


def test_rows_in_agreement_are_chosen_and_the_others_fill_up_by_how_little_they_disagree() -> None:
    agreements = [Agreement(margin=m, likeliest="cat" if m > 0 else "dog") for m in (-2.0, 5.0, -0.1, 0.2)]
    rows = [row(f"s{i}", "meow", "cat") for i in range(4)]

    def choose(n: int) -> list[bool]:
        return [s.is_chosen for s in choose_by_agreement(rows, ["cat"] * 4, agreements, n, seed="0")]

    assert choose(2) == [False, True, False, True]
    assert choose(3) == [False, True, True, True]
    told = choose_by_agreement(rows, ["cat"] * 4, agreements, 2, seed="0")
    assert [s.reads_like for s in told] == ["dog", "", "dog", ""]


def test_the_surest_rows_are_not_preferred() -> None:
    agreements = [Agreement(margin=float(i + 1), likeliest="cat") for i in range(40)]
    rows = [row(f"s{i}", "meow", "cat") for i in range(40)]
    chosen = [i for i, s in enumerate(choose_by_agreement(rows, ["cat"] * 40, agreements, 20, seed="0")) if s.is_chosen]
    assert 15 < sum(chosen) / len(chosen) < 24


def choose_labels(n_agreeing: int) -> list[str]:
    """Of six cats and three dogs, the first ones in agreement, six are chosen."""
    agreements = [Agreement(margin=1.0 if i < n_agreeing else -1.0, likeliest="cat") for i in range(9)]
    labels = ["cat"] * 6 + ["dog"] * 3
    rows = [row(f"s{i}", "meow", label) for i, label in enumerate(labels)]
    chosen = choose_by_agreement(rows, labels, agreements, 6, seed="0")
    return [label for s, label in zip(chosen, labels, strict=True) if s.is_chosen]


def test_labels_keep_their_shares() -> None:
    assert choose_labels(9) == ["cat"] * 4 + ["dog"] * 2


def test_a_right_row_of_another_label_is_better_than_a_wrong_one() -> None:
    assert choose_labels(6) == ["cat"] * 6
    assert choose_labels(7) == ["cat"] * 5 + ["dog"]
