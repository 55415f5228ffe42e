"""Answers that code makes: of several for a row, one that asks for something else than all others."""

from collections.abc import Sequence
from random import Random

from pada_agent.agents.data_generation.varied_answers import N_DRAWN, vary_answers
from pada_agent.core.config import TaskConfig
from pada_agent.core.progress import Progress
from pada_agent.core.records import Batch, Example
from pada_agent.evaluation.task import ROUGH_QUESTION, Variation
from pada_agent.evaluation.tasks.exact_match import ExactMatch


class Questions(ExactMatch):
    """Makes one of these questions of a row, by chance. None if there are none."""

    def __init__(self, *questions: str) -> None:
        super().__init__(TaskConfig(name="exact_match"))
        self.questions = questions
        self.n_drawn = 0

    def vary_answer(self, source: Example, others: Sequence[Example], rng: Random) -> Variation | None:
        del others
        self.n_drawn += 1
        if not self.questions or source.id == "bare":
            return None
        return Variation(fields={"answer": source.id}, rough_question=rng.choice(self.questions))


def row(row_id: str, question: str) -> Example:
    return Example(id=row_id, prompt=question, answer="a", reference={"question": question})


def batch(*source_ids: str, number: int = 1) -> Batch:
    return Batch(id=f"i1-s1-b{number}", branch="pattern", iteration=1, source_ids=source_ids)


TRAINING = [row("t1", "which rivers cross the state of iowa"), row("t2", "who won"), row("bare", "why")]
NEAR = ("which rivers cross the state of ohio", "which rivers cross the state of utah")
FAR = ("how long is the longest river", "what is the area of all lakes together", "who lives in the capital")


def ask(task: Questions, batches: list[Batch], known: Sequence[Example] = (), threshold: float = 0.85) -> list[str]:
    varied = vary_answers(batches, TRAINING, known, task=task, seed=0, threshold=threshold)
    return [given[ROUGH_QUESTION] for one in varied for given in one.given]


def test_questions_are_no_near_duplicates_as_long_as_there_are_others() -> None:
    batches = [batch("t1", "t2"), batch("t2", number=2)]
    assert sorted(ask(Questions(*NEAR, *FAR), batches)) == sorted(FAR)
    assert set(ask(Questions(*NEAR, *FAR), [batch("t1")], known=[row("k", FAR[0]), row("l", FAR[1])])) == {FAR[2]}


def test_then_those_with_other_words_and_then_any() -> None:
    asked = ask(Questions(NEAR[0], TRAINING[0].prompt), [batch("t1", "t1")])
    assert asked[0] == NEAR[0] and asked[1] in (NEAR[0], TRAINING[0].prompt)


def test_the_same_seed_gives_the_same_answers_and_no_more_are_made_than_needed() -> None:
    task = Questions(*FAR)
    assert ask(task, [batch("t1")]) == ask(Questions(*FAR), [batch("t1")])
    assert task.n_drawn == 1
    task = Questions(TRAINING[1].prompt)
    ask(task, [batch("t1")])
    assert task.n_drawn == N_DRAWN


def test_each_row_gets_the_answer_made_from_its_source() -> None:
    (varied,) = vary_answers([batch("t2", "t1")], TRAINING, [], task=Questions(*FAR), seed=0, threshold=0.85)
    assert [given["answer"] for given in varied.given] == ["t2", "t1"]


def test_a_batch_with_a_row_without_any_is_left_to_the_writer() -> None:
    mixed, whole = [batch("t1", "bare"), batch("t1", number=2)], [batch("t1")]
    varied = vary_answers(mixed, TRAINING, [], task=Questions(*FAR), seed=0, threshold=0.85)
    assert varied[0] == mixed[0] and varied[1].given
    assert vary_answers(whole, TRAINING, [], task=Questions(), seed=0, threshold=0.85) == whole


def test_progress_is_reported_of_many_rows_that_code_makes_answers_for() -> None:
    told: list[Progress] = []
    many = [batch(*["t1"] * 300, number=n) for n in (1, 2)]
    vary_answers(many, TRAINING, [], task=Questions(*FAR), seed=0, threshold=0.85, report=told.append)
    assert [(p.stage, p.done, p.total) for p in told] == [("vary", 0, 600), ("vary", 300, 600), ("vary", 600, 600)]
    told.clear()
    vary_answers(many, TRAINING, [], task=Questions(), seed=0, threshold=0.85, report=told.append)
    vary_answers(many[:1], TRAINING, [], task=Questions(*FAR), seed=0, threshold=0.85, report=told.append)
    assert not told
