"""What a strategy is applied to, and with which words, is found in its pattern's failures."""

from pada_agent.agents.data_generation.pattern_sources import N_NEAREST, bind_to_rows
from pada_agent.agents.data_generation.unseen_words import add_unseen_words
from pada_agent.core.config import TaskConfig
from pada_agent.core.ports import RawRow
from pada_agent.core.records import Confusion, ErrorPattern, Example, Prediction, ScoredRow, Strategy, Verdict
from pada_agent.evaluation.task import Task
from pada_agent.evaluation.tasks.registry import make_task
from tests.fakes import ScriptedModel
from tests.toy_world import WordCountEmbedder

STRATEGY = Strategy(
    id="s1", pattern_id="p1", category_name="melting", strategy_name="warm", generation_approach="Write about it."
)


def read(task: Task, row_id: str, question: str, answer: str) -> Example:
    return task.read(RawRow(where=row_id, fields={"id": row_id, "question": question, "answer": answer}))


def fail(example: Example) -> ScoredRow:
    return ScoredRow(
        example=example,
        prediction=Prediction(example_id=example.id, response="?"),
        verdict=Verdict(example_id=example.id, value="wrong"),
    )


def pattern(*failures: str) -> ErrorPattern:
    return ErrorPattern(
        id="p1",
        category_name="melting",
        error_pattern="wrong",
        example_ids=failures,
        n_analysed=len(failures),
        cluster=0,
    )


def test_a_strategy_is_applied_to_the_rows_nearest_to_its_failures() -> None:
    task = make_task(TaskConfig(name="exact_match"), ScriptedModel([]))
    training = [read(task, f"t{n}", f"lamp {'red ' * n}", "a") for n in range(N_NEAREST)]
    training += [read(task, f"far{n}", f"door {n}", "a") for n in range(3)]
    failures = {i: fail(read(task, i, text, "b")) for i, text in (("v1", "lamp"), ("v2", "door"))}
    (bound,) = bind_to_rows([STRATEGY], [pattern("v1", "gone")], failures, training, embedder=WordCountEmbedder())
    assert set(bound.source_ids) == {f"t{n}" for n in range(N_NEAREST)}
    labelled = STRATEGY.model_copy(update={"confusions": (Confusion(gold="a", predicted="b", count=1),)})
    assert bind_to_rows([labelled], [pattern("v1")], failures, training, embedder=WordCountEmbedder()) == [labelled]


def test_a_strategy_has_the_words_that_no_training_question_has_by_label() -> None:
    task = make_task(TaskConfig(name="multiple_choice", labels={"outages": "", "billing": ""}), ScriptedModel([]))
    training = [read(task, "t1", "The power is off", "outages"), read(task, "t2", "Why this FEE?", "billing")]
    failures = {
        "v1": fail(read(task, "v1", "Storm, and the Fuse blew; no power in 22b", "outages")),
        "v2": fail(read(task, "v2", "A second storm fee", "billing")),
        "v3": fail(read(task, "v3", "Another pattern's tariff", "billing")),
    }
    (found,) = add_unseen_words([STRATEGY], [pattern("v1", "v2", "gone")], failures, training, task=task)
    assert found.unseen_words == {"billing": ("second", "storm"), "outages": ("and", "blew", "fuse", "storm")}
    (none,) = add_unseen_words([STRATEGY], [pattern()], failures, training, task=task)
    assert none.unseen_words == {}


def test_open_answers_have_no_words_by_label() -> None:
    task = make_task(TaskConfig(name="exact_match"), ScriptedModel([]))
    failures = {"v1": fail(read(task, "v1", "Something new", "b"))}
    (found,) = add_unseen_words([STRATEGY], [pattern("v1")], failures, [], task=task)
    assert found == STRATEGY
