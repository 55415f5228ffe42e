"""A run of the paper's size leaves small checkpoints: 1000 rows, 10 clusters, 3 iterations."""

import json
import random
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.sqlite import SqliteSaver

from pada_agent.core.chat import ChatRequest
from pada_agent.core.jobs import Job, PredictJob
from pada_agent.graph.builder import build_graph
from tests.fakes import ScriptedModel
from tests.toy_world import NearestRowCompute, ToyWorld, make_rows, make_settings, teach

LABELS = ("fruit", "tool", "animal")
pytestmark = pytest.mark.slow

N_ROWS, N_HELD_OUT, N_CLUSTERS, N_ITERATIONS = 1000, 500, 10, 3
WORDS_PER_ROW = 45
"""As a question of GSM8K."""
MB = 1_000_000


def make_split(name: str, n: int) -> list[dict[str, str]]:
    rng = random.Random(name)
    return make_rows(name, [(make_text(rng), LABELS[i % 3]) for i in range(n)])


def make_text(rng: random.Random) -> str:
    return " ".join("".join(rng.choices("abcdefghij", k=6)) for _ in range(WORDS_PER_ROW))


def write_at_length(request: ChatRequest) -> str:
    """As `teach`, with texts as long as real ones, and as many kinds of errors as there are clusters."""
    answer, template = json.loads(teach(request)), str(request.tags["prompt"])
    if template == "error_analysis":
        for n, item in enumerate(answer):
            item["error_cause"] = make_text(
                random.Random(f"cause {(n + len(request.messages[-1].content)) % N_CLUSTERS}")
            )
    elif template == "pattern_categorization":
        answer["error_pattern"] = make_text(random.Random(request.messages[-1].content))
    elif template == "strategy_drafting":
        for item in answer:
            item["generation_approach"] = make_text(random.Random(f"approach {item['pattern']}"))
    elif "generation" in template:
        for row in answer:
            row["question"] = make_text(random.Random(f"{row['row']}/{request.draw}"))
    return json.dumps(answer)


class FirstOptionCompute(NearestRowCompute):
    """A student that learns nothing: errors enough for every iteration, at no cost."""

    def _run(self, job: Job, folder: Path) -> None:
        super()._run(job.model_copy(update={"adapter": None}) if isinstance(job, PredictJob) else job, folder)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoints of the run."""
    folder = tmp_path_factory.mktemp("paper_scale")
    memory = {name: make_split(name, n) for name, n in (("train", N_ROWS), ("validation", N_HELD_OUT), ("test", 500))}
    settings = make_settings(
        analysis={"max_errors": 50, "errors_per_call": 5, "min_clusters": N_CLUSTERS, "max_clusters": N_CLUSTERS},
        generation={"share": 0.5, "rows_per_call": 5},
        verification={"votes": 0},
        loop={"max_iterations": N_ITERATIONS, "patience": N_ITERATIONS},
    )
    world = ToyWorld(folder, teacher=ScriptedModel(write_at_length), memory=memory)
    world.compute = FirstOptionCompute(folder / "objects")
    path = folder / "checkpoints.sqlite"
    with SqliteSaver.from_conn_string(str(path)) as saver:
        graph = build_graph(world.connect).compile(checkpointer=saver)
        thread: Any = {"configurable": {"thread_id": "t"}}
        summary = graph.invoke({}, thread, context=settings)["summary"]
    assert summary.rows.accepted == N_ITERATIONS * N_ROWS // 2
    assert [len(found.patterns) for found in summary.patterns] == [N_CLUSTERS] * N_ITERATIONS
    return path


def test_every_checkpoint_is_under_200_kb(database: Path) -> None:
    (largest,) = query(database, "select max(length(checkpoint)) from checkpoints")
    assert largest < 0.2 * MB


def test_all_checkpoints_are_under_5_mb(database: Path) -> None:
    (states,) = query(database, "select sum(length(checkpoint)) from checkpoints")
    (writes,) = query(database, "select sum(length(value)) from writes")
    assert states + writes < 5 * MB, f"{states / MB:.1f} MB of checkpoints, {writes / MB:.1f} MB of writes"


def query(database: Path, sql: str) -> tuple[Any, ...]:
    with closing(sqlite3.connect(database)) as connection:
        row: tuple[Any, ...] = connection.execute(sql).fetchone()
    return row
