"""What the generator is asked for every kind of task, and what becomes of its answer."""

import json
from typing import Any

import pytest

from pada_agent.agents.data_generation import assign_rows, generate_drafts
from pada_agent.core.config import TaskConfig
from pada_agent.core.ports import ChatRequest, RawRow
from pada_agent.core.records import Batch, Failure, GuardedStrategy, Prediction, Strategy, Verdict
from pada_agent.evaluation.tasks.registry import BUILT_IN, make_task
from pada_agent.prompts.prompted_model import PromptedModel
from tests.fakes import ScriptedModel

QUESTION = "Which of these melts first?"
OPTIONS = {"question": QUESTION, "choices": ["wax", "ice", "iron"], "answerKey": "B"}
PASSAGE = {"context": "Ice melts at zero degrees.", "question": QUESTION, "answer": "Ice"}
FUNCTION = {
    "prompt": 'def melts():\n    """Which of these melts first?"""\n',
    "canonical_solution": "    return 'ice'\n",
    "test": "def check(candidate):\n    assert candidate() == 'ice'\n",
    "entry_point": "melts",
    "task_id": "t/1",
}
ROWS: dict[str, dict[str, Any]] = {
    "arc_challenge": OPTIONS,
    "multiple_choice": OPTIONS,
    "hellaswag": {"ctx": QUESTION, "endings": ["Ice.", "Wax.", "Iron.", "Lead."], "label": 0},
    "squad": {**PASSAGE, "answers": {"text": ["Ice"], "answer_start": [0]}},
    "extractive_qa": PASSAGE,
    "gsm8k": {"question": QUESTION, "answer": "It is ice.\n#### 0"},
    "numeric": {"question": QUESTION, "answer": "0"},
    "exact_match": {"question": QUESTION, "answer": "ice"},
    "judge": {"question": QUESTION, "answer": "Ice does."},
    "humaneval": FUNCTION,
    "code": FUNCTION,
}
STRATEGY = Strategy(
    id="i1-s1",
    pattern_id="i1-p1",
    category_name="melting",
    strategy_name="warm things",
    generation_approach="Write about things that melt.",
    key_elements=("heat",),
)


def test_no_task_is_left_out() -> None:
    assert ROWS.keys() == BUILT_IN.keys()


@pytest.mark.parametrize("branch", ["pattern", "training_error"])
@pytest.mark.parametrize("name", ROWS)
def test_every_task_is_asked_for_with_its_source_and_answered_in_its_fields(name: str, branch: Any) -> None:
    task = make_task(TaskConfig(name=name), ScriptedModel([]))
    source = task.read(RawRow(where="train.jsonl:1", fields={"id": "t1", **ROWS[name]}))
    failure = Failure(
        example=source,
        prediction=Prediction(example_id="t1", response="iron"),
        verdict=Verdict(example_id="t1", value="wrong"),
    )
    batch = Batch(
        id="b1",
        branch=branch,
        iteration=1,
        strategy=GuardedStrategy(strategy=STRATEGY) if branch == "pattern" else None,
        source_ids=("t1",),
    )
    fields = task.draft_fields_for([source])

    def write(_: ChatRequest) -> str:
        return json.dumps([{"row": 1, **dict.fromkeys(fields, "something new")}])

    model = ScriptedModel(write)
    assignments = assign_rows(batch, {"t1": source}, {"t1": failure}, task=task, seed=0)
    (draft,) = generate_drafts(
        batch,
        assignments,
        attempt=1,
        feedback="",
        task=task,
        generator=PromptedModel(model),
        temperature=0.7,
        show_answer=True,
    )
    assert draft.fields == dict.fromkeys(fields, "something new")
    (prompt,) = model.prompts
    assert QUESTION in prompt
    assert ("warm things" in prompt) == (branch == "pattern")
    assert ("iron" in prompt.lower()) or branch == "pattern"
