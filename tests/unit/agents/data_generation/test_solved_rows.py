"""Questions that are written alone, and answered by vote."""

import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from pada_agent.agents.data_generation.generate import assign_rows
from pada_agent.agents.data_generation.solved_rows import choose_solved, write_solved
from pada_agent.agents.guards.draft_checks import verify_drafts
from pada_agent.core.chat import ChatRequest
from pada_agent.core.config import TaskConfig
from pada_agent.core.generation_config import GenerationConfig
from pada_agent.core.raw_rows import RawRow
from pada_agent.core.records import Batch, Draft, Example, GuardedStrategy, Strategy
from pada_agent.evaluation.task import Task
from pada_agent.evaluation.tasks.registry import make_task
from pada_agent.prompts.prompted_model import NoReply, PromptedModel
from tests.fakes import ScriptedModel

REAL = {
    "what is the lowest temperature": "SELECT MIN(degrees) FROM thing",
    "how many things are there": "SELECT COUNT(*) FROM thing",
    "which things are warmer than 50": "SELECT name FROM thing WHERE degrees > 50",
}
WARMEST, ALSO_WARMEST = "SELECT MAX(degrees) FROM thing", "SELECT degrees FROM thing ORDER BY degrees DESC LIMIT 1"
COLDEST, BROKEN, EMPTY = (
    "SELECT MIN(degrees) FROM thing",
    "SELECT heat FROM thing",
    "SELECT name FROM thing WHERE degrees > 9999",
)
STRATEGY = Strategy(
    id="i1-s1",
    pattern_id="i1-p1",
    category_name="ends",
    strategy_name="extremes",
    generation_approach="Ask for extremes.",
    key_elements=(),
)


class Words:
    """Texts with more words of the real questions in common are nearer."""

    known = sorted({word for text in REAL for word in text.split()})

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        counts = np.array([[text.split().count(word) for word in self.known] for text in texts], dtype=np.float32)
        return counts / np.maximum(np.linalg.norm(counts, axis=1, keepdims=True), 1e-9)


@pytest.fixture
def task(tmp_path: Path) -> Task:
    path = tmp_path / "things.sqlite"
    with closing(sqlite3.connect(path)) as made, made:
        made.execute("CREATE TABLE thing (name TEXT, degrees INT)")
        made.execute("INSERT INTO thing VALUES ('ice', 0), ('wax', 60), ('iron', 1538)")
    return make_task(TaskConfig(name="sql", database=str(path), description="People ask about things."))


def read_training(task: Task) -> list[Example]:
    fields = [{"question": question, "sql": sql} for question, sql in REAL.items()]
    return [task.read(RawRow(where=f"train.jsonl:{n}", fields=row)) for n, row in enumerate(fields, start=1)]


def write(
    task: Task, model: ScriptedModel, *, n_rows: int = 1, settings: GenerationConfig | None = None
) -> tuple[list[Draft] | NoReply, list[Example]]:
    training = read_training(task)
    batch = Batch(
        id="i1-s1-b1",
        branch="pattern",
        iteration=1,
        strategy=GuardedStrategy(strategy=STRATEGY),
        source_ids=tuple(row.id for row in training[:n_rows]),
        is_solved=True,
    )
    drafts = write_solved(
        batch,
        assign_rows(batch, training, {}, task=task, seed=0),
        attempt=1,
        task=task,
        generator=PromptedModel(model),
        settings=settings or GenerationConfig(solved_share=1, solver_examples=2),
        seed=0,
        training=training,
        embedder=Words(),
    )
    return drafts, training


def says_question(*questions: str) -> str:
    return json.dumps([{"row": n, "question": text} for n, text in enumerate(questions, start=1)])


def says_query(sql: str) -> str:
    return json.dumps([{"row": 1, "query": sql}])


def test_questions_go_on_with_real_ones_and_are_answered_beside_those_most_like_them(task: Task) -> None:
    model = ScriptedModel(
        [says_question("what is the highest temperature"), says_query(WARMEST), says_query(ALSO_WARMEST)]
    )
    drafts, training = write(task, model)
    assert isinstance(drafts, list)
    (draft,) = drafts
    assert (draft.fields, draft.problem) == ({"question": "what is the highest temperature", "query": WARMEST}, "")
    assert (draft.provenance.source_id, draft.provenance.strategy_id, draft.provenance.call_key) == (
        training[0].id,
        "i1-s1",
        "call-1",
    )
    asked, first, second = model.requests
    shown = [turn.content for turn in asked.messages[:-1]]
    assert (
        len(shown) == 4 and "People ask about things." in shown[0] and "CREATE TABLE" not in asked.messages[-1].content
    )
    assert json.loads(shown[3]) == [{"row": 1, "question": training[0].reference["question"]}], "the source comes last"
    assert "SELECT" not in "".join(shown), "no answers beside questions that are written alone"
    assert "Ask for extremes." in asked.messages[-1].content
    answered = [json.loads(turn.content)[0]["query"] for turn in first.messages if turn.role == "assistant"]
    assert answered == [REAL["how many things are there"], REAL["what is the lowest temperature"]], (
        "the nearest is last"
    )
    assert first.messages[-1].content.startswith("Answer this question: what is the highest temperature")
    assert (first.temperature, second.temperature) == (0.0, 0.7)


@pytest.mark.parametrize(
    ("answers", "problem"),
    [
        ((WARMEST, WARMEST), ""),
        ((WARMEST, ALSO_WARMEST), ""),
        ((WARMEST, COLDEST, ALSO_WARMEST), ""),
        ((WARMEST, BROKEN, WARMEST), ""),
        ((WARMEST, COLDEST, COLDEST), "asked 3 times, its writer gave this answer only once"),
        ((BROKEN,), "the query: no such column: heat"),
        ((EMPTY,), "the query: gives nothing: the values in it must be ones that the database has"),
        (("names",), "field 'query' is not a SELECT"),
    ],
)
def test_an_answer_counts_if_more_than_half_give_it_and_no_more_are_asked_for_than_needed(
    task: Task, answers: tuple[str, ...], problem: str
) -> None:
    model = ScriptedModel([says_question("what is the highest temperature"), *map(says_query, answers)])
    drafts, training = write(task, model)
    model.assert_script_over()
    assert isinstance(drafts, list)
    assert drafts[0].problem == problem
    batch = Batch(id="i1-s1-b1", branch="pattern", iteration=1, source_ids=(training[0].id,))
    found = verify_drafts(drafts, assign_rows(batch, training, {}, task=task, seed=0), task=task, guards=[])
    assert [row.answer for row in found.candidates] == ([] if problem else [WARMEST])
    assert [(r.stage, r.reason) for r in found.rejections] == ([("vote", problem)] if problem else [])


def test_a_tie_is_no_majority_and_a_single_vote_is_one(task: Task) -> None:
    tie = ScriptedModel([says_question("what is the highest temperature"), says_query(WARMEST), says_query(COLDEST)])
    drafts, _ = write(task, tie, settings=GenerationConfig(solved_share=1, solver_votes=2))
    assert isinstance(drafts, list) and drafts[0].problem
    alone = ScriptedModel([says_question("what is the highest temperature"), says_query(WARMEST)])
    drafts, _ = write(task, alone, settings=GenerationConfig(solved_share=1, solver_votes=1))
    alone.assert_script_over()
    assert isinstance(drafts, list) and not drafts[0].problem


def test_a_question_that_got_no_answer_costs_its_own_row_alone(task: Task) -> None:
    def reply(request: ChatRequest) -> str:
        last = request.messages[-1].content
        if "Answer this question" not in last:
            return says_question("what is the highest temperature", "who knows")
        return says_query(WARMEST) if "highest" in last else "I cannot say."

    drafts, _ = write(task, ScriptedModel(reply), n_rows=2)
    assert isinstance(drafts, list)
    assert [draft.row for draft in drafts] == [0, 1]
    assert not drafts[0].problem and drafts[1].problem.startswith("its writer gave no answer to it: ")


def test_without_usable_questions_there_is_no_reply(task: Task) -> None:
    drafts, _ = write(task, ScriptedModel(lambda _: "I cannot."))
    assert isinstance(drafts, NoReply)


def test_questions_about_several_databases_are_written_and_answered_apart(tmp_path: Path) -> None:
    for name, column in (("warm", "degrees"), ("old", "years")):
        with closing(sqlite3.connect(tmp_path / f"{name}.sqlite")) as made, made:
            made.execute(f"CREATE TABLE thing (name TEXT, {column} INT)")
            made.execute("INSERT INTO thing VALUES ('ice', 7), ('wax', 60)")
    task = make_task(TaskConfig(name="sql", database=str(tmp_path)))
    fields = [
        {"question": f"what is the lowest {column}", "sql": f"SELECT MIN({column}) FROM thing", "database": name}
        for name, column in (("warm", "degrees"), ("old", "years"))
    ]
    training = [task.read(RawRow(where=f"train.jsonl:{n}", fields=row)) for n, row in enumerate(fields, start=1)]
    batch = Batch(id="b1", branch="pattern", iteration=1, source_ids=tuple(row.id for row in training), is_solved=True)

    def reply(request: ChatRequest) -> str:
        told = "".join(turn.content for turn in request.messages)
        assert ("degrees" in told) != ("years" in told), "nothing of the other database is told"
        column = "degrees" if "degrees" in told else "years"
        if "Answer this question" in request.messages[-1].content:
            return says_query(f"SELECT MAX({column}) FROM thing")
        return says_question(f"what is the highest {column}")

    drafts = write_solved(
        batch,
        assign_rows(batch, training, {}, task=task, seed=0),
        attempt=1,
        task=task,
        generator=PromptedModel(ScriptedModel(reply)),
        settings=GenerationConfig(solved_share=1),
        seed=0,
        training=training,
        embedder=Words(),
    )
    assert isinstance(drafts, list)
    assert [(draft.row, draft.fields["query"], draft.problem) for draft in drafts] == [
        (0, "SELECT MAX(degrees) FROM thing", ""),
        (1, "SELECT MAX(years) FROM thing", ""),
    ]


def test_the_chosen_batches_are_evenly_spread_and_only_where_a_vote_is_possible(task: Task) -> None:
    training = read_training(task)
    batches = [Batch(id=f"b{n}", branch="pattern", iteration=1, source_ids=(training[0].id,)) for n in range(8)]

    def choose(share: float, of: Task = task, rows: Sequence[Example] = training) -> list[int]:
        chosen = choose_solved(batches, rows, task=of, settings=GenerationConfig(solved_share=share))
        return [n for n, batch in enumerate(chosen) if batch.is_solved]

    assert choose(0) == [] and choose(1) == list(range(8))
    assert choose(0.5) == [0, 2, 4, 6] and choose(0.25) == [1, 5]
    assert choose(1, make_task(TaskConfig(name="exact_match"))) == []
    follow_up = RawRow(
        where="train.jsonl:1",
        fields={
            "messages": [
                {"role": "user", "content": "what is warm"},
                {"role": "assistant", "content": "SELECT name FROM thing WHERE degrees > 50"},
                {"role": "user", "content": "and how many"},
                {"role": "assistant", "content": "SELECT COUNT(*) FROM thing WHERE degrees > 50"},
            ]
        },
    )
    row = task.read(follow_up).model_copy(update={"id": training[0].id})
    assert choose(1, task, [row]) == [], "its question is understood only after the earlier turns"
