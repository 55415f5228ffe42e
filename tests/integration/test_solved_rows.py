"""A run whose questions are written alone: half of the calls, the answers by vote."""

import json
import re
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

from pada_agent.core.chat import ChatRequest
from tests.fakes import ScriptedModel
from tests.integration.graph_runs import fine_tunings, run, training_rows
from tests.toy_world import ToyWorld, teach

NAMES = ("ice", "wax", "iron", "lead", "tin", "zinc", "gold", "salt", "glass", "steel", "butter", "quartz")


def make_world(folder: Path) -> tuple[ToyWorld, ScriptedModel, str]:
    """Questions about when things melt. Where a question names ice, the teacher is never of the same opinion twice."""
    database = folder / "things.sqlite"
    with closing(sqlite3.connect(database)) as made, made:
        made.execute("CREATE TABLE thing (name TEXT, degrees INT)")
        made.executemany("INSERT INTO thing VALUES (?, ?)", [(name, 7 * n) for n, name in enumerate(NAMES, start=1)])
    model = ScriptedModel(answer)
    rows = [
        {"question": f"when does {name} melt", "sql": f"SELECT degrees FROM thing WHERE name = '{name}'"}
        for name in NAMES
    ]
    parts = {"train": rows[:6], "validation": rows[6:10], "test": rows[10:]}
    return ToyWorld(folder, teacher=model, memory=parts), model, str(database)


def answer(request: ChatRequest) -> str:
    last, template = request.messages[-1].content, request.tags["prompt"]
    if template == "more_questions":
        n_rows = int(re.findall(r"Write (\d+) more", last)[0])
        questions = [f"{request.draw}: how warm is {NAMES[n % 2]} when it melts" for n in range(n_rows)]
        return json.dumps([{"row": n, "question": text} for n, text in enumerate(questions, start=1)])
    if template == "answer_like_examples":
        name = next(name for name in NAMES if f"is {name} when" in last)
        vote = int(request.draw.rsplit("/", 1)[1])
        return json.dumps(
            [{"row": 1, "query": f"SELECT degrees + {vote * (name == 'ice')} FROM thing WHERE name = '{name}'"}]
        )
    return teach(request)


def settings(database: str, **generation: Any) -> dict[str, Any]:
    return {
        "task": {"name": "sql", "labels": {}, "database": database, "show_tables": False},
        "generation": {"share": 2.0, "error_folds": 0, "reword": False, **generation},
        "quality": {"enabled": False},
        "loop": {"max_iterations": 1},
    }


def test_half_of_the_calls_write_questions_alone_and_their_answers_are_voted_on(tmp_path: Path) -> None:
    world, model, database = make_world(tmp_path)
    summary = run(world, **settings(database, solved_share=0.5))
    rows = [row for row in training_rows(fine_tunings(world)[-1]) if row.provenance]
    asked = Counter(str(request.tags["prompt"]) for request in model.requests)
    solved = [row for row in rows if "how warm is" in row.prompt]
    assert len(rows) == 12 and 0 < len(solved) < 12, "code makes the others"
    assert asked["more_questions"] and asked["answer_like_examples"] >= 2 * len(solved)
    assert not any("ice" in row.prompt for row in solved)
    assert all(row.answer.startswith("SELECT degrees + 0 ") for row in solved)
    rejected = sum((Counter(report.n_rejected) for report in world.read_reports(summary)), Counter[str]())
    assert rejected["vote"] == sum("is ice when" in prompt for prompt in model.prompts) // 3 > 0


def test_without_the_setting_nothing_changes(tmp_path: Path) -> None:
    world, model, database = make_world(tmp_path)
    run(world, **settings(database))
    assert not {"more_questions", "answer_like_examples"} & {str(request.tags["prompt"]) for request in model.requests}
