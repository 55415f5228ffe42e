"""What the generator is asked for every kind of task, and what becomes of its answer."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pada_agent.agents.data_generation.generate import assign_rows, generate_drafts
from pada_agent.agents.data_generation.varied_answers import vary_answers
from pada_agent.agents.guards.draft_checks import verify_drafts
from pada_agent.agents.guards.guard import GuardContext
from pada_agent.agents.guards.row_guards import ExactLabel, Repetition
from pada_agent.core.chat import ChatRequest
from pada_agent.core.config import RunConfig, TaskConfig
from pada_agent.core.generation_config import GenerationConfig
from pada_agent.core.raw_rows import RawRow
from pada_agent.core.records import (
    Batch,
    Branch,
    Confusion,
    Feedback,
    GuardedStrategy,
    Prediction,
    ScoredRow,
    Strategy,
    Verdict,
)
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
    "squad_v2": {**PASSAGE, "answers": {"text": ["Ice"], "answer_start": [0]}},
    "extractive_qa": PASSAGE,
    "gsm8k": {"question": QUESTION, "answer": "It is ice.\n#### 0"},
    "numeric": {"question": QUESTION, "answer": "0"},
    "exact_match": {"question": QUESTION, "answer": "ice"},
    "judge": {"question": QUESTION, "answer": "Ice does."},
    "humaneval": FUNCTION,
    "code": FUNCTION,
    "sql": {"question": QUESTION, "sql": "SELECT name FROM thing ORDER BY degrees LIMIT 1"},
}
STRATEGY = Strategy(
    id="i1-s1",
    pattern_id="i1-p1",
    category_name="melting",
    strategy_name="warm things",
    generation_approach="Write about things that melt.",
    key_elements=("heat",),
)


def make_database(path: Path) -> Path:
    with closing(sqlite3.connect(path)) as made, made:
        made.execute("CREATE TABLE thing (name TEXT, degrees INT)")
        made.execute("INSERT INTO thing VALUES ('ice', 0), ('wax', 60), ('iron', 1538)")
    made.close()
    return path


def test_no_task_is_left_out() -> None:
    assert ROWS.keys() == BUILT_IN.keys()


@pytest.mark.parametrize(
    ("branch", "template"),
    [
        ("pattern", "training_error_generation"),
        ("training_error", "training_error_generation"),
        ("training_error", "contrast_generation"),
        ("training_error", "similar_item_generation"),
        ("training_error", "rephrasing"),
    ],
)
@pytest.mark.parametrize("name", ROWS)
def test_every_task_is_asked_for_with_its_source_and_answered_in_its_fields(
    name: str, branch: Any, template: Any, tmp_path: Path
) -> None:
    database = make_database(tmp_path / "things.sqlite") if name == "sql" else ""
    task = make_task(TaskConfig(name=name, database=str(database)), PromptedModel(ScriptedModel([])))
    source = task.read(RawRow(where="train.jsonl:1", fields={"id": "t1", **ROWS[name]}))
    failure = ScoredRow(
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
        contrast_ids=(("t2",),) if template == "contrast_generation" else (),
    )
    fields = list(task.draft_fields_for([source]))
    asked = [task.question_field] if template == "rephrasing" else fields

    def write(_: ChatRequest) -> str:
        return json.dumps([{"row": 1, **dict.fromkeys(asked, "something new")}])

    model = ScriptedModel(write)
    question = "Which of these freezes first?"
    reference = {**source.reference, "question": question}
    other = source.model_copy(update={"id": "t2", "prompt": question, "reference": reference})
    source = source.model_copy(update={"id": "t1"})
    assignments = assign_rows(batch, [source, other], {"t1": failure}, task=task, seed=0)
    (draft,) = generate_drafts(
        batch,
        assignments,
        attempt=1,
        feedback=[],
        task=task,
        generator=PromptedModel(model),
        settings=GenerationConfig(template=template),
    )
    copied = task.show(source) if template == "rephrasing" else {}
    assert draft.fields == {**copied, **dict.fromkeys(asked, "something new")}
    (prompt,) = model.prompts
    assert QUESTION in prompt
    assert ("warm things" in prompt) == (branch == "pattern")
    sees_wrong_answer = branch == "training_error" and template in ("training_error_generation", "contrast_generation")
    assert ("model's wrong answer to it: iron" in prompt) == sees_wrong_answer
    assert ("Which of these freezes first?" in prompt) == (template == "contrast_generation")


@pytest.mark.parametrize("template", ["training_error_generation", "contrast_generation"])
def test_rows_that_were_not_answered_wrongly_are_not_called_wrong(template: str) -> None:
    task = make_task(TaskConfig(name="gsm8k"))
    source = task.read(RawRow(where="train.jsonl:1", fields=ROWS["gsm8k"]))
    batch = Batch(id="b1", branch="training_error", iteration=1, source_ids=(source.id,))
    model = ScriptedModel(lambda _: json.dumps([{"row": 1, **dict.fromkeys(task.draft_fields_for([source]), "new")}]))
    generate_drafts(
        batch,
        assign_rows(batch, [source], {}, task=task, seed=0),
        attempt=1,
        feedback=[],
        task=task,
        generator=PromptedModel(model),
        settings=GenerationConfig(template=template, sources="training_rows"),
    )
    (prompt,) = model.prompts
    assert "wrong" not in prompt and "None" not in prompt


LABELS = {"outages": "the supply is off", "billing": "what a charge is"}


def test_a_row_for_a_closed_label_is_shown_with_others_of_its_label_and_one_it_is_mistaken_for() -> None:
    task = make_task(TaskConfig(name="multiple_choice", labels=LABELS))
    rows = [
        ("t1", "Dark since nine", "outages"),
        ("t2", "No power again", "outages"),
        ("t3", "Why this fee", "billing"),
    ]
    training = {
        i: task.read(RawRow(where=i, fields={"id": i, "question": question, "answer": label}))
        for i, question, label in rows
    }
    strategy = STRATEGY.model_copy(update={"confusions": (Confusion(gold="outages", predicted="billing", count=2),)})
    batch = Batch(
        id="b1", branch="pattern", iteration=1, strategy=GuardedStrategy(strategy=strategy), source_ids=("t1",) * 3
    )
    model = ScriptedModel(['[{"row": 1, "question": "The street is dark"}]'])
    generate_drafts(
        batch,
        assign_rows(batch, list(training.values()), {}, task=task, seed=0, n_demonstrations=3),
        attempt=1,
        feedback=[],
        task=task,
        generator=PromptedModel(model),
        settings=GenerationConfig(),
    )
    (prompt,) = model.prompts
    assert 'beyond doubt "outages": the supply is off.' in prompt
    assert 'mistaken for "billing": what a charge is.' in prompt
    real = prompt[prompt.index("<real>\n") : prompt.index("</real>")]
    assert real == (
        '<real>\nReal examples of "outages":\n- Dark since nine\n- No power again\n'
        'For contrast, real examples of "billing":\n- Why this fee\n'
    )
    assert '<row number="1">\nlabel: outages\n</row>' in prompt


@pytest.mark.parametrize("n_rows", [1, 2])
def test_the_turns_before_a_question_are_shown_to_its_writer_however_many_rows_a_call_has(n_rows: int) -> None:
    task = make_task(TaskConfig(name="multiple_choice", labels={"accept": "agrees", "decline": "refuses"}))
    said = [("yes please", "accept"), ("all right", "accept"), ("better not", "decline")]
    training = [
        task.read(
            RawRow(
                where=f"t{n}",
                fields={
                    "id": f"t{n}",
                    "messages": [
                        {"role": "user", "content": f"My order {n} is late"},
                        {"role": "assistant", "content": f"Shall I cancel order {n}?"},
                        {"role": "user", "content": reply},
                        {"role": "assistant", "content": label},
                    ],
                },
            )
        )
        for n, (reply, label) in enumerate(said, start=1)
    ]
    strategy = STRATEGY.model_copy(update={"confusions": (Confusion(gold="accept", predicted="decline", count=2),)})
    sources = tuple(row.id for row in training[:n_rows])
    batch = Batch(
        id="b1", branch="pattern", iteration=1, strategy=GuardedStrategy(strategy=strategy), source_ids=sources
    )
    assignments = assign_rows(batch, training, {}, task=task, seed=0, n_demonstrations=3)
    model = ScriptedModel(['[{"row": 1, "question": "go ahead"}]'])
    generate_drafts(
        batch,
        assignments,
        attempt=1,
        feedback=[],
        task=task,
        generator=PromptedModel(model),
        settings=GenerationConfig(n_shown_labels=4),
        training=training,
    )
    (prompt,) = model.prompts
    for assigned in assignments:
        assert assigned.source.conversation.removesuffix(f"\nUser: {assigned.source.prompt}") in prompt
    if n_rows == 1:  # a real row of another conversation is shown with its own
        assert "- User: My order 2 is late\nAssistant: Shall I cancel order 2?; all right\n" in prompt
        assert "- yes please\n" in prompt


@pytest.mark.parametrize("branch", ["pattern", "training_error"])
def test_real_rows_of_other_labels_are_shown_as_earlier_answers(branch: Branch) -> None:
    task = make_task(TaskConfig(name="multiple_choice", labels=LABELS))
    rows = [("t1", "Dark since nine", "outages"), ("t2", "Why this fee", "billing"), ("t3", "Bill is wrong", "billing")]
    training = [
        task.read(RawRow(where=i, fields={"id": i, "question": question, "answer": label}))
        for i, question, label in rows
    ]
    strategy = GuardedStrategy(strategy=STRATEGY) if branch == "pattern" else None
    batch = Batch(id="b1", branch=branch, iteration=1, strategy=strategy, source_ids=("t1",))
    model = ScriptedModel(['["The street is dark"]'])
    drafts = generate_drafts(
        batch,
        assign_rows(batch, training, {}, task=task, seed=0, n_demonstrations=3),
        attempt=1,
        feedback=[],
        task=task,
        generator=PromptedModel(model),
        settings=GenerationConfig(n_shown_labels=4),
        training=training,
    )
    assert isinstance(drafts, list) and [draft.fields for draft in drafts] == [{"question": "The street is dark"}]
    turns = model.requests[0].messages
    assert "often mistaken for" not in turns[-1].content, "the strategy names no mix-up"
    assert [turn.role for turn in turns] == ["user", "assistant"] * 2 + ["user"]
    assert 'Write 2 examples of "billing": what a charge is.' in turns[0].content
    assert sorted(json.loads(turns[1].content)) == ["Bill is wrong", "Why this fee"]
    assert 'Write 1 example of "outages": the supply is off.' in turns[2].content
    assert json.loads(turns[3].content) == ["Dark since nine"]
    assert turns[4].content.startswith('Write 1 more example of "outages": the supply is off.')
    assert (STRATEGY.generation_approach in turns[4].content) is (branch == "pattern")
    assert "Real examples of" not in turns[4].content and "<row" not in turns[4].content
    assert sum(turn.content.count("You write training examples") for turn in turns) == 1


def test_a_row_that_was_sent_back_is_shown_with_its_refused_version_and_the_advice_and_others_are_not() -> None:
    task = make_task(TaskConfig(name="exact_match"))
    source = task.read(RawRow(where="t1", fields={"id": "t1", "question": "Question?", "answer": "ice"}))
    batch = Batch(id="b1", branch="training_error", iteration=1, source_ids=("t1", "t1", "t1"))
    assignments = assign_rows(batch, [source], {}, task=task, seed=0)
    for template in ("training_error_generation", "similar_item_generation", "contrast_generation", "rephrasing"):
        model = ScriptedModel(['[{"row": 2, "question": "New?", "answer": "snow"}]'])
        generate_drafts(
            batch,
            assignments[1:],
            attempt=2,
            feedback=[
                Feedback(row=0, draft="question: done", advice="this row is done"),
                Feedback(row=1, draft="question: Old?", advice="it copies its real example"),
            ],
            task=task,
            generator=PromptedModel(model),
            settings=GenerationConfig.model_validate({"template": template}),
        )
        rows = model.prompts[0].split("<row number=")[1:]
        assert "question: Old?" in rows[0] and "what is wrong with it: it copies its real example" in rows[0]
        assert "sent back" not in rows[1]
        assert "this row is done" not in model.prompts[0]


def test_seeds_do_not_share_what_the_writer_wrote() -> None:
    task = make_task(TaskConfig(name="exact_match"))
    source = task.read(RawRow(where="t1", fields={"id": "t1", "question": "Question?", "answer": "ice"}))
    batch = Batch(id="b1", branch="training_error", iteration=1, source_ids=("t1",))
    model = ScriptedModel(['[{"row": 1, "question": "New?", "answer": "snow"}]'] * 2)
    for seed in (0, 1):
        generate_drafts(
            batch,
            assign_rows(batch, [source], {}, task=task, seed=seed),
            attempt=1,
            feedback=[],
            task=task,
            generator=PromptedModel(model),
            settings=GenerationConfig(),
            seed=seed,
        )
    assert [request.draw for request in model.requests] == ["0/b1/1", "1/b1/1"]


def test_no_demonstrations_are_shown_where_none_are_asked_for_or_labels_are_open() -> None:
    task = make_task(TaskConfig(name="exact_match"))
    training = {
        i: task.read(RawRow(where=i, fields={"id": i, "question": f"Question {i}?", "answer": "ice"}))
        for i in ("t1", "t2")
    }
    batch = Batch(
        id="b1", branch="pattern", iteration=1, strategy=GuardedStrategy(strategy=STRATEGY), source_ids=("t1",)
    )
    (assigned,) = assign_rows(batch, list(training.values()), {}, task=task, seed=0, n_demonstrations=3)
    assert (assigned.demonstrations, assigned.counterexample) == ((), None)


def test_sql_is_written_from_the_query_on_real_values_and_sent_back_with_the_reason(tmp_path: Path) -> None:
    database = str(make_database(tmp_path / "things.sqlite"))
    task = make_task(TaskConfig(name="sql", database=database, description="Asked in a laboratory."))
    source = task.read(RawRow(where="train.jsonl:1", fields={"id": "t1", **ROWS["sql"]}))
    batch = Batch(
        id="b1",
        branch="pattern",
        iteration=1,
        strategy=GuardedStrategy(strategy=STRATEGY),
        source_ids=("t1", "t1"),
    )
    assignments = assign_rows(batch, [source], {}, task=task, seed=0)
    written = [
        {"row": 1, "query": "SELECT count(*) FROM thing WHERE degrees > 50", "question": "How many melt above fifty?"},
        {"row": 2, "query": "SELECT titel FROM thing", "question": "What are they called?"},
    ]
    model = ScriptedModel([json.dumps(written)])
    drafts = generate_drafts(
        batch,
        assignments,
        attempt=1,
        feedback=[],
        task=task,
        generator=PromptedModel(model),
        settings=GenerationConfig(),
    )
    (prompt,) = model.prompts
    assert prompt.count("CREATE TABLE thing (name text, degrees int);") == 1, "told once, for all rows"
    assert "Asked in a laboratory." in prompt and prompt.count("thing.name: ") == 2
    assert prompt.index('"query"') < prompt.index('"question"'), "the query comes first"
    context = GuardContext(settings=RunConfig(), task=task, known=[source])
    found = verify_drafts(drafts, assignments, task=task, guards=[ExactLabel(context), Repetition(context)])
    assert [c.answer for c in found.candidates] == ["SELECT count(*) FROM thing WHERE degrees > 50"]
    assert [(r.stage, r.reason) for r in found.rejections] == [("label", "the query: no such column: titel")]


def test_for_an_answer_that_code_made_only_the_question_is_asked(tmp_path: Path) -> None:
    task = make_task(TaskConfig(name="sql", database=str(make_database(tmp_path / "things.sqlite"))))
    source = task.read(
        RawRow(
            where="train.jsonl:1",
            fields={"question": "what is the lowest temperature", "sql": "SELECT MIN(degrees) FROM thing"},
        )
    )
    batch = Batch(
        id="i1-s1-b1",
        branch="pattern",
        iteration=1,
        strategy=GuardedStrategy(strategy=STRATEGY),
        source_ids=(source.id,),
    )
    wanted = "SELECT MAX(degrees) FROM thing"
    made = (vary_answers([batch], [source], [], task=task, seed=seed, threshold=0.85) for seed in range(50))
    varied = next(batch for (batch,) in made if batch.given[0]["query"] == wanted)
    (assigned,) = assign_rows(varied, [source], {}, task=task, seed=0)
    asked: list[str] = []

    def reply(request: ChatRequest) -> str:
        asked.append(request.messages[-1].content)
        return '[{"row": 1, "question": "something new"}]'

    (draft,) = generate_drafts(
        batch,
        [assigned],
        attempt=1,
        feedback=[],
        task=task,
        generator=PromptedModel(ScriptedModel(reply)),
        settings=GenerationConfig(),
    )
    assert draft.fields == {"query": assigned.given["query"], "question": "something new"}
    (by_code,) = generate_drafts(
        batch,
        [assigned],
        attempt=1,
        feedback=[],
        task=task,
        generator=PromptedModel(ScriptedModel(reply)),
        settings=GenerationConfig(reword=False),
    )
    assert by_code.fields == {"query": assigned.given["query"], "question": "what is the highest temperature"}
    assert len(asked) == 1, "no call"
    assert by_code.provenance == draft.provenance.model_copy(update={"call_key": ""})
    sent_back = [Feedback(row=0, draft="question: what is the highest temperature", advice="say it in other words")]
    (reworded,) = generate_drafts(
        batch,
        [assigned],
        attempt=2,
        feedback=sent_back,
        task=task,
        generator=PromptedModel(ScriptedModel(reply)),
        settings=GenerationConfig(reword=False),
    )
    assert reworded.fields["question"] == "something new" and len(asked) == 2, "what a judge sent back is worded anew"
    assert "what is the highest temperature" in asked[0] and "melting" in asked[0] and "CREATE TABLE" not in asked[0]
    (plain,) = assign_rows(batch, [source], {}, task=task, seed=0)
    assert plain.rough_question is None and "query" not in plain.given
