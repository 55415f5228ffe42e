"""What a strategy is applied to is found in its pattern's failures."""

from pada_agent.agents.data_generation.pattern_sources import N_NEAREST, bind_to_rows
from pada_agent.core.config import TaskConfig
from pada_agent.core.raw_rows import RawRow
from pada_agent.core.records import Confusion, ErrorPattern, Example, Prediction, ScoredRow, Strategy, Verdict
from pada_agent.evaluation.task import Task
from pada_agent.evaluation.tasks.registry import make_task
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
        n_analyzed=len(failures),
        cluster=0,
    )


def test_a_strategy_is_applied_to_the_rows_nearest_to_its_failures() -> None:
    task = make_task(TaskConfig(name="exact_match"))
    training = [read(task, f"t{n}", f"lamp {'red ' * n}", "a") for n in range(N_NEAREST)]
    training += [read(task, f"far{n}", f"door {n}", "a") for n in range(3)]
    failures = {i: fail(read(task, i, text, "b")) for i, text in (("v1", "lamp"), ("v2", "door"))}
    (bound,) = bind_to_rows([STRATEGY], [pattern("v1", "gone")], failures, training, embedder=WordCountEmbedder())
    assert set(bound.source_ids) == {f"t{n}" for n in range(N_NEAREST)}
    labeled = STRATEGY.model_copy(update={"confusions": (Confusion(gold="a", predicted="b", count=1),)})
    assert bind_to_rows([labeled], [pattern("v1")], failures, training, embedder=WordCountEmbedder()) == [labeled]
