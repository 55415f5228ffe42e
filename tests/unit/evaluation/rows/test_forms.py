"""The forms in which people hold data, each read into the same question and answer."""

from typing import Any

import pytest

from pada_agent.core.config import TaskConfig
from pada_agent.core.errors import ConfigError, DatasetError
from pada_agent.core.raw_rows import RawRow
from pada_agent.core.records import Example
from pada_agent.evaluation.rows.reading import ReadFile, read_files
from pada_agent.evaluation.task import Task
from pada_agent.evaluation.tasks.registry import BUILT_IN, make_task
from pada_agent.prompts.prompted_model import PromptedModel
from tests.fakes import ScriptedModel
from tests.unit.evaluation.cases import read_all


def place(rows: list[dict[str, Any]], name: str = "train.jsonl") -> list[RawRow]:
    return [RawRow(where=f"{name}:{n}", fields=fields) for n, fields in enumerate(rows, 1)]


def task_for(name: str = "exact_match", **settings: Any) -> Task:
    return make_task(TaskConfig(name=name, **settings), PromptedModel(ScriptedModel([])))


def read(rows: list[dict[str, Any]], **settings: Any) -> ReadFile:
    (file,) = read_all(task_for(**settings), [place(rows)])
    return file


def shown(example: Example) -> tuple[Any, ...]:
    """Question and answer; behind them the system turn and the earlier turns, if there are any."""
    context = [example.system] if example.system else []
    return (example.prompt, example.answer, *context, *(turn.content for turn in example.history))


def turns(*said: tuple[str, Any]) -> list[dict[str, Any]]:
    return [{"role": role, "content": text} for role, text in said]


PLAIN = turns(("user", "Open?"), ("assistant", "Yes."))
FORMS: list[tuple[str, dict[str, Any], tuple[str, ...]]] = [
    ("question and answer", {"question": "Open?", "answer": "Yes."}, ("Open?", "Yes.")),
    ("names in capitals and with spaces", {"Question ": "Open?", "ANSWER": "Yes."}, ("Open?", "Yes.")),
    ("names with characters that nobody sees", {"\ufeffquestion": "Open?", "an\u200bswer": "Yes."}, ("Open?", "Yes.")),
    ("OpenAI", {"messages": PLAIN}, ("Open?", "Yes.")),
    ("OpenAI with a system turn", {"messages": [*turns(("system", "Be kind.")), *PLAIN]}, ("Open?", "Yes.", "Be kind.")),
    ("OpenAI's newer name for it", {"messages": [*turns(("developer", "Be kind.")), *PLAIN]}, ("Open?", "Yes.", "Be kind.")),
    ("several turns", {"messages": [*turns(("user", "Hi"), ("assistant", "Hello.")), *PLAIN]}, ("Open?", "Yes.", "Hi", "Hello.")),
    ("content in parts", {"messages": turns(("user", [{"type": "text", "text": "Open"}, "?"]), ("assistant", "Yes."))}, ("Open\n?", "Yes.")),
    ("messages as a JSON string", {"messages": '[{"role":"user","content":"Open?"},{"role":"assistant","content":"Yes."}]'}, ("Open?", "Yes.")),
    ("messages as a Python string", {"messages": str(PLAIN)}, ("Open?", "Yes.")),
    ("keys that other rows need", {"messages": [{**turn, "tool_calls": None, "name": None} for turn in PLAIN]}, ("Open?", "Yes.")),
    ("ShareGPT", {"conversations": [{"from": "human", "value": "Open?"}, {"from": "gpt", "value": "Yes."}]}, ("Open?", "Yes.")),
    ("ShareGPT with a system column", {"system": "Be kind.", "conversations": [{"from": "human", "value": "Open?"}, {"from": "gpt", "value": "Yes."}]}, ("Open?", "Yes.", "Be kind.")),
    ("Alpaca", {"instruction": "Say it in French.", "input": "yes", "output": "oui"}, ("Say it in French.\n\nyes", "oui")),
    ("Alpaca without input", {"instruction": "Say yes in French.", "input": "", "output": "oui"}, ("Say yes in French.", "oui")),
    ("Alpaca as it is on the hub", {"instruction": "Say it in French.", "input": "yes", "output": "oui", "text": "### Instruction: …"}, ("Say it in French.\n\nyes", "oui")),
    ("Alpaca with system and history", {"instruction": "And no?", "input": "", "output": "non", "system": "Be kind.", "history": [["Yes in French?", "oui"]]}, ("And no?", "non", "Be kind.", "Yes in French?", "oui")),
    ("Dolly", {"instruction": "Sum it up.", "context": "A long text.", "response": "A text.", "category": "summarization"}, ("Sum it up.\n\nA long text.", "A text.")),
    ("OpenOrca", {"system_prompt": "Be kind.", "question": "Open?", "response": "Yes."}, ("Open?", "Yes.", "Be kind.")),
    ("TRL", {"prompt": "Open?", "completion": "Yes."}, ("Open?", "Yes.")),
    ("TRL, conversational", {"prompt": PLAIN[:1], "completion": PLAIN[1:]}, ("Open?", "Yes.")),
    ("TRL, conversational, with a system turn", {"prompt": [*turns(("system", "Be kind.")), *PLAIN[:1]], "completion": PLAIN[1:]}, ("Open?", "Yes.", "Be kind.")),
    ("turns as prompt, text as completion", {"prompt": PLAIN[:1], "completion": "Yes."}, ("Open?", "Yes.")),
    ("prompt and response", {"prompt": "Open?", "response": "Yes."}, ("Open?", "Yes.")),
    ("input and output", {"input": "Open?", "output": "Yes."}, ("Open?", "Yes.")),
    ("input and target", {"inputs": "Open?", "targets": "Yes."}, ("Open?", "Yes.")),
    ("text and label", {"text": "Open?", "label": "Yes."}, ("Open?", "Yes.")),
    ("names of others next to our own", {"question": "Open?", "text": "A text.", "answer": "Yes.", "label": "hours"}, ("Open?", "Yes.")),
    ("two columns that hold the same", {"prompt": "Open?", "input": "Open?", "output": "Yes.", "label": "Yes."}, ("Open?", "Yes.")),
    ("problem and answer, with a solution", {"problem": "Open?", "solution": "Well …", "answer": "Yes."}, ("Open?", "Yes.")),
]  # fmt: skip


@pytest.mark.parametrize(("row", "expected"), [f[1:] for f in FORMS], ids=[f[0] for f in FORMS])
def test_a_form_is_read(row: dict[str, Any], expected: tuple[str, ...]) -> None:
    file = read([row])
    assert [shown(example) for example in file.examples] == [expected]
    assert task_for().read(place([row])[0]).prompt == expected[0], "a row on its own reads alike"


@pytest.mark.parametrize(
    ("columns", "row", "expected"),
    [
        ({"question": "text", "answer": "queue"}, {"text": "Open?", "queue": "Yes."}, ("Open?", "Yes.")),
        ({"question": "instruction", "answer": "output"}, {"instruction": "French?", "input": "yes", "output": "oui"}, ("French?\n\nyes", "oui")),
        ({"question": ["instruction"]}, {"instruction": "French?", "input": "yes", "output": "oui"}, ("French?", "oui")),
        ({"question": ["title", "body"]}, {"title": "Open?", "body": "On Sunday?", "answer": "Yes."}, ("Open?\n\nOn Sunday?", "Yes.")),
        ({"messages": "talk"}, {"talk": PLAIN}, ("Open?", "Yes.")),
        ({"question": "q", "answer": "a"}, {"messages": PLAIN}, ("Open?", "Yes.")),
        ({"system": "role"}, {"question": "Open?", "answer": "Yes.", "role": "Be kind."}, ("Open?", "Yes.", "Be kind.")),
        ({"question": "query"}, {"prompt": "a", "query": "b", "response": "c"}, ("b", "c")),
        ({"question": ["query", "text"], "answer": "label"}, {"query": "a", "text": "b", "target": "c", "label": "d"}, ("a\n\nb", "d")),
        ({"answer": "label"}, {"text": "a", "target": "b", "label": "c"}, ("a", "c")),
        ({"answer": "answer"}, {"question": "a", "answer": "b", "correct_answer": "c"}, ("a", "b")),
    ],
)  # fmt: skip
def test_settings_say_which_columns(columns: dict[str, Any], row: dict[str, Any], expected: tuple[str, ...]) -> None:
    assert shown(read([row], columns=columns).examples[0]) == expected


@pytest.mark.parametrize(
    ("row", "columns", "message"),
    [
        ({"q": "x", "a": "y"}, {}, r"train.jsonl:1: field 'question' is missing; the row has q, a. Name the right column"),
        ({"question": None, "answer": "y"}, {}, r"train.jsonl:1: field 'question' is empty: None. Fill it in, or drop the row"),
        ({"question": "x", "answer": float("nan")}, {}, r"field 'answer' is empty: nan"),
        ({"question": "x", "answer": "nan"}, {}, r"field 'answer' is empty: 'nan' \(task.missing counts that as an empty cell\)"),
        ({"question": "x", "answer": "#REF!"}, {}, r"field 'answer' is empty: '#REF!'"),
        ({"question": ["x"], "answer": "y"}, {}, r"field 'question' is \['x'\], but expected text, not list"),
        ({"question": "x", "answer": []}, {}, r"field 'answer' is \[\], but expected one answer, or a list"),
        ({"prompt": "x", "query": "y", "response": "z"}, {}, r"train.jsonl: the question could be 'prompt' or 'query'. Say which: task.columns"),
        ({"prompt": "x", "response": "y", "output": "z"}, {}, r"train.jsonl: the answer could be 'response' or 'output'"),
        ({"text": "x", "sentence": "y", "label": "z"}, {}, r"the question could be 'text' or 'sentence'"),
        ({"query": "x", "text": "y", "label": "z"}, {}, r"the question could be 'query' or 'text'. Say which: task.columns: {question: …}. A list joins"),
        ({"prompt": "x", "input": "y", "output": "z"}, {}, r"the question could be 'prompt' or 'input'"),
        ({"instruction": "x", "text": "y", "label": "z"}, {}, r"the question could be 'instruction' or 'text'"),
        ({"text": "x", "target": "y", "label": "z"}, {}, r"train.jsonl: the answer could be 'target' or 'label'. Say which: task.columns: {answer: …}.$"),
        ({"prompt": PLAIN[:1], "completion": PLAIN[1:], "label": False}, {}, r"the answer could be 'completion' or 'label'"),
        ({"question": "x", "answer": "y", "Correct Answer": "z"}, {}, r"the answer could be 'answer' or 'Correct Answer'"),
        ({"x": "x", "answer": "y"}, {"question": "text"}, r"train.jsonl: task.columns takes question from 'text', but the columns are x, answer"),
        ({"text": PLAIN}, {"messages": "talk"}, r"task.columns takes messages from 'talk', but the columns are text"),
        ({"messages": PLAIN[:1]}, {}, r"train.jsonl:1: field 'messages' is .*, but expected the assistant's answer as the last turn"),
        ({"messages": PLAIN[1:]}, {}, r"expected user and assistant to take turns, the user first \(turn 1 is the assistant's\)"),
        ({"messages": [PLAIN[0], *PLAIN]}, {}, r"to take turns, the user first \(turn 2 is the user's\)"),
        ({"messages": [*PLAIN, *turns(("system", "x"))]}, {}, r"turn 3 is the system's"),
        ({"messages": turns(("user", "x"), ("tool", "y"), ("assistant", "z"))}, {}, r"\(turn 2 has the role 'tool'\)"),
        ({"messages": [PLAIN[0], {"role": "assistant", "content": "", "tool_calls": [1]}]}, {}, r"\(turn 2 calls a tool\)"),
        ({"messages": turns(("user", [{"type": "image_url"}]), ("assistant", "z"))}, {}, r"expected text as content \(turn 1 has"),
        ({"messages": turns(("user", " "), ("assistant", "z"))}, {}, r"expected some text in every turn \(turn 1 is empty\)"),
        ({"messages": turns(("system", "x"))}, {}, r"expected a user turn"),
        ({"messages": []}, {}, r"expected a list of turns"),
        ({"messages": "hi"}, {}, r"field 'messages' is 'hi', but expected a list of turns"),
        ({"instruction": "x", "output": "y", "history": [["one"]]}, {}, r"field 'history' is .* expected a list of pairs"),
    ],
)  # fmt: skip
def test_a_row_that_cannot_be_read_says_where_and_why(
    row: dict[str, Any], columns: dict[str, Any], message: str
) -> None:
    with pytest.raises(DatasetError, match=message):
        read([row], columns=columns)


@pytest.mark.parametrize(
    ("row", "settings", "names"),
    [
        ({"question": "q", "A": "x", "B": "y", "answer": "A", "correct_answer": "B"}, {}, "'answer' or 'correct_answer'"),
        ({"question": "q", "choices": ["x", "y"], "label": "A", "answer": "B"}, {}, "'label' or 'answer'"),
        ({"text": "q", "label": "x", "answer": "y"}, {"labels": ["x", "y"]}, "'label' or 'answer'"),
    ],
)  # fmt: skip
def test_two_right_options_are_refused_unless_they_are_the_same(
    row: dict[str, Any], settings: dict[str, Any], names: str
) -> None:
    for name in ("multiple_choice", *(["exact_match"] if "labels" in settings else [])):
        with pytest.raises(DatasetError, match=f"train.jsonl: the answer could be {names}. Say which: task.columns"):
            read([row], name=name, **settings)
        other = names.rpartition(" ")[2].strip("'")
        right = read([row], name=name, columns={"answer": other}, **settings).examples[0].answer
        assert right == "y"
        same = {**row, names.split("'")[1]: row[other]}
        assert read([same], name=name, **settings).examples[0].answer == right


def test_a_column_that_another_field_takes_is_no_question() -> None:
    row = {"text": "How many?", "query": "SELECT 1", "db_id": "none"}
    settled = task_for("sql").settle([place([row])])[0]
    assert (settled.columns["question"], settled.columns["answer"]) == (("text",), ("query",))


def test_an_empty_cell_is_told_from_a_column_that_is_not_there() -> None:
    rows = [{"question": "a", "answer": "b"}, {"question": "c", "answer": None}]
    with pytest.raises(DatasetError, match=r"train.jsonl:2: field 'answer' is empty: None"):
        read(rows)
    with pytest.raises(DatasetError, match=r"train.jsonl:1: field 'answer' is missing; the row has question"):
        read([{"question": "a"}])


def test_all_problems_can_be_had_at_once() -> None:
    rows = [{"question": "a", "answer": "b"}, {"question": "c", "answer": None}, {"question": "", "answer": "d"}]
    (file,) = read_files(task_for(), [place(rows)])
    assert (len(file.examples), file.wheres) == (1, ["train.jsonl:1"])
    assert [str(p).partition(":")[2][:2] for p in file.problems] == ["2:", "3:"]


def test_columns_that_nobody_reads_are_told() -> None:
    rows = [
        {"id": 1, "question": "a", "answer": "b", "source": "web", "notes": None},
        {"id": 2, "question": "c", "answer": "d", "source": "", "notes": None, "label": "x"},
    ]
    understood = read(rows).understood
    assert understood.unused == ("source", "label")
    assert understood.columns == {"question": ("question",), "answer": ("answer",), "id": ("id",)}
    assert (understood.location, understood.n_rows, understood.form) == ("train.jsonl", 2, "columns")


def test_alpacas_input_is_never_dropped_without_a_word() -> None:
    row = {"instruction": "French?", "input": "yes", "output": "oui"}
    assert read([row], columns={"question": ["instruction"]}).understood.unused == ("input",)
    joined = read([row]).understood
    assert (joined.columns["question"], joined.unused) == (("instruction", "input"), ())
    assert joined.form == "columns; the question is instruction and input, joined by a blank line"


def test_a_column_called_system_is_a_system_turn_only_in_chats() -> None:
    file = read([{"question": "Which?", "answer": "This.", "system": "SAP"}])
    assert file.examples[0].system is None and file.understood.unused == ("system",)


def test_two_files_may_have_two_forms() -> None:
    train, validation = read_all(
        task_for(), [place([{"messages": PLAIN}]), place([{"question": "Open?", "answer": "Yes."}], "v.csv")]
    )
    assert train.examples == validation.examples


@pytest.mark.parametrize("name", sorted(set(BUILT_IN) - {"judge"}))
def test_a_field_that_a_task_does_not_read_is_refused_in_settings(name: str) -> None:
    with pytest.raises(
        ConfigError, match=rf"task.columns: '{name}' reads no field 'qestion'; it reads .* Did you mean 'question'\?"
    ):
        task_for(name, columns={"qestion": "text"})


def test_text_is_read_in_one_normal_form_and_code_as_it_is() -> None:
    decomposed = "cafe\u0301"
    example = read([{"question": decomposed, "answer": decomposed}]).examples[0]
    assert (example.prompt, example.answer) == ("caf\u00e9", "caf\u00e9")
    talk = read([{"messages": turns(("user", decomposed), ("assistant", decomposed))}]).examples[0]
    assert (talk.prompt, talk.answer) == ("caf\u00e9", "caf\u00e9")
    body = f"    return x == '{decomposed}'\n"
    function = {
        "prompt": "def f(x):\n", "canonical_solution": body, "entry_point": "f", "test": f"assert f('{decomposed}')",
    }  # fmt: skip
    code = task_for("code").read(place([function])[0])
    assert decomposed in code.answer and decomposed in code.reference["test"]


def test_a_column_is_found_in_either_unicode_form() -> None:
    rows = [{"re\u0301ponse": "oui", "question": "q"}]
    assert read(rows, columns={"answer": "r\u00e9ponse"}).examples[0].answer == "oui"
