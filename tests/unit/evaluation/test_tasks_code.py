"""Rows of the code task as people hold them: what is taken, what is refused, what is doubted."""

from typing import Any

import pytest

from pada_agent.core.config import TaskConfig
from pada_agent.core.errors import DatasetError, SandboxError
from pada_agent.core.records import Example
from pada_agent.evaluation.sandbox import SandboxResult
from pada_agent.evaluation.tasks import code
from pada_agent.evaluation.tasks.registry import make_task
from pada_agent.evaluation.verifiers.python_code import complete_program, extract_code
from tests.unit.evaluation.cases import answer, row

CODE = make_task(TaskConfig(name="code"))
DOUBLE: dict[str, Any] = {
    "prompt": 'def double(x):\n    """Twice."""\n',
    "canonical_solution": "    return 2 * x\n",
    "entry_point": "double",
    "test": "assert double(1) == 2\nassert double(2) == 4",
}
WHOLE = '```python\ndef double(x):\n    """Twice."""\n    return 2 * x\n```'


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {name: DOUBLE[name].replace("\n", "\r\n") for name in ("prompt", "canonical_solution", "test")},
        {name: DOUBLE[name].replace("\n", "\r") for name in ("prompt", "canonical_solution", "test")},
        {"prompt": "\ufeff" + DOUBLE["prompt"]},
        {"test": DOUBLE["test"].split("\n")},
        {"test": '["assert double(1) == 2", "assert double(2) == 4"]'},
        {"entry_point": " double "},
    ],
)
def test_line_ends_marks_and_lists_make_no_difference(changes: dict[str, Any]) -> None:
    example = CODE.read(row(**{**DOUBLE, **changes}))
    assert (example.answer, example.reference["prompt"]) == (WHOLE, DOUBLE["prompt"])
    assert example.reference["test"] == DOUBLE["test"]
    assert example.reference["entry_point"] == "double"


@pytest.mark.parametrize("depth", ["  ", "\t", "        ", "    "])
@pytest.mark.parametrize("is_whole", [True, False])
@pytest.mark.parametrize("doc", ["  ", "\t", "    "])
def test_the_function_to_learn_is_python_however_it_is_indented(depth: str, is_whole: bool, doc: str) -> None:
    prompt = f'def double(x):\n{doc}"""Twice."""\n'
    body = f"{depth}if x:\n{depth}{depth}return 2 * x\n{depth}return 0\n"
    solution = f"def double(x):\n{body}" if is_whole else body
    example = CODE.read(row(**{**DOUBLE, "prompt": prompt, "canonical_solution": solution}))
    found: dict[str, Any] = {}
    exec(example.answer.removeprefix("```python\n").removesuffix("```"), found)
    assert (found["double"](2), found["double"](0), found["double"].__doc__) == (4, 0, "Twice.")


DOC = 'def double(x):\n    """Twice.\n\n    ```python\n    double(2)\n    ```\n    """\n'


@pytest.mark.parametrize(
    ("prompt", "solution"),
    [
        ("def double(x):\n", "def double(x):\n    return 2 * x\n"),
        ("def double(x):\n", "    return 2 * x\n"),
        ("def double(x):\n    # twice\n", "def double(x):\n    return 2 * x\n"),
        ("from operator import mul\n\ndef double(x):\n", "def double(x):\n    return mul(2, x)\n"),
        ('def double(x):\n    """Twice."""\n', "def double(n):\n    return 2 * n\n"),
        ('def double(x):\n    """Twice."""\n', "def double(x, k=2):\n    return k * x\n"),
        ('def double(x):\n    """Twice."""\n', "double = lambda x: 2 * x\n"),
        (DOC, "    return 2 * x\n"),
        (DOC, DOC + "    return 2 * x\n"),
        ('def double(x):\n    """Twice."""\n\ndef same(x):\n    return x\n', "    return 2 * same(x)\n"),
    ],
)
def test_the_function_to_learn_does_what_the_solution_does(prompt: str, solution: str) -> None:
    example = CODE.read(row(**{**DOUBLE, "prompt": prompt, "canonical_solution": solution}))
    for source in (complete_program(prompt, example.answer, "double"), extract_code(example.answer, "double")):
        found: dict[str, Any] = {}
        exec(source, found)
        assert (found["double"](1), found["double"](2)) == (2, 4)


def test_a_draft_may_have_a_fence_in_its_docstring() -> None:
    solution = f"```python\n{DOC}    return 2 * x\n```"
    draft = {"prompt": DOC, "solution": solution, "tests": DOUBLE["test"]}
    made = CODE.compose(draft, source=CODE.read(row(**DOUBLE)), given={}, example_id="s")
    assert isinstance(made, Example)
    assert (made.reference["prompt"], extract_code(made.answer, "double")) == (
        DOC.strip("\n"),
        f"{DOC}    return 2 * x",
    )


def test_the_function_to_learn_keeps_the_decorators_of_its_solution() -> None:
    solution = "from functools import cache\n\n@cache\ndef double(x):\n    return 2 * x\n"
    assert "@cache" in CODE.read(row(**{**DOUBLE, "canonical_solution": solution})).answer


def test_the_imports_of_a_bare_signature_belong_to_the_program() -> None:
    program = complete_program("import math\n\ndef f(x):\n", "```python\ndef f(x):\n    return math.floor(x)\n```", "f")
    assert program.startswith("import math\n")


def test_a_text_of_several_lines_in_a_function_to_learn_stays_as_it_is() -> None:
    solution = 'def double(x):\n    text = """one\ntwo"""\n    return text * x\n'
    for doc in ("    ", "  "):
        prompt = f'def double(x):\n{doc}"""Twice."""\n'
        example = CODE.read(row(**{**DOUBLE, "prompt": prompt, "canonical_solution": solution}))
        found: dict[str, Any] = {}
        exec(example.answer.removeprefix("```python\n").removesuffix("```"), found)
        assert found["double"](1) == "one\ntwo"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"test": "print(double(1))"}, "field 'test' is 'print.*expected assert statements, alone or in a function check"),
        ({"test": "class T(TestCase):\n    def test(self):\n        self.assertEqual(double(1), 2)"}, "without one, any program passes"),
        ({"test": "assert double(1) =="}, "field 'test' is .*, but it is not Python: line 1"),
        ({"test": ""}, "field 'test' is empty"),
        ({"entry_point": "triple"}, "field 'entry_point' is 'triple', but the prompt defines no such function"),
        ({"canonical_solution": "    return '\0'\n"}, "not Python: source code string cannot contain null bytes"),
    ],
)  # fmt: skip
def test_rows_that_could_not_be_graded_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DatasetError, match=rf"train\.jsonl:7: .*{message}"):
        CODE.read(row(**{**DOUBLE, **changes}))


@pytest.mark.parametrize(
    "test",
    [
        "def test_one():\n    assert double(1) == 2\n\ndef test_two(n=2):\n    assert double(n) == 4",
        "def test_one():\n    assert double(1) == 2\ntest_one()",
        "def helper(n):\n    assert double(n) == 2 * n\ndef check(candidate):\n    helper(2)",
        "class Case:\n    def run(self):\n        assert double(2) == 4\nCase().run()",
        "import asyncio\nasync def main():\n    assert double(2) == 4\nasyncio.run(main())",
        "from solution import double\n\ndef test_one():\n    assert double(1) == 2",
        "from solution import (\n    double as twice,\n    halve,\n)\nassert twice(1) == 2",
        "import math; from .ä import double; assert double(1) == 2",
    ],
)
def test_asserts_in_functions_are_run_as_pytest_runs_them(test: str) -> None:
    example = CODE.read(row(**{**DOUBLE, "test": test}))
    assert answer(CODE, example, WHOLE).value == "correct"
    assert answer(CODE, example, "```python\ndef double(x):\n    return 3 * x\n```").value == "wrong"


@pytest.mark.parametrize(
    "test",
    [
        "def tests():\n    def inner():\n        assert double(1) == 2",
        "def check_double():\n    assert double(1) == 2",
        "def test_one(n):\n    assert double(n) == 2 * n",
        "async def check(candidate):\n    assert candidate(1) == 2",
        "async def test_one():\n    assert double(1) == 2",
        "class TestDouble:\n    def test_one(self):\n        assert double(1) == 2",
        "def one():\n    two()\ndef two():\n    assert double(1) == 2",
    ],
)
def test_asserts_that_nothing_runs_are_refused(test: str) -> None:
    with pytest.raises(
        DatasetError, match=r"or test_…\(\), because no other is called: without one, any program passes"
    ):
        CODE.read(row(**{**DOUBLE, "test": test}))


def test_an_assert_in_a_method_is_one_assert() -> None:
    test = "class Case:\n    def run(self):\n        assert double(2) == 4\nCase().run()"
    example = CODE.read(row(**{**DOUBLE, "test": test}))
    assert CODE.verify_label(example).reason == "fewer than 2 asserts"


def test_tests_that_prove_nothing_are_told() -> None:
    idle = "try:\n    assert double(1) == 2\nexcept AssertionError:\n    pass"
    (told,) = CODE.list_doubts([CODE.read(row(**DOUBLE)), CODE.read(row(**{**DOUBLE, "test": idle}))])
    assert told == (
        "1 of 2 tests that were tried prove nothing: a program that does nothing passes them, such as double"
    )


def test_solutions_that_fail_their_own_tests_are_told() -> None:
    good = CODE.read(row(**DOUBLE))
    bad = CODE.read(row(**{**DOUBLE, "canonical_solution": "    return 3 * x\n"}))
    assert CODE.list_doubts([good]) == []
    (told,) = CODE.list_doubts([good, bad])
    assert told.startswith("1 of 2 solutions that were tried fail their own tests, such as double (AssertionError at")
    assert CODE.list_doubts([]) == []


def test_where_no_program_can_run_nothing_is_doubted(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise SandboxError("no Landlock")

    monkeypatch.setattr(code, "run_program", refuse)
    assert CODE.list_doubts([CODE.read(row(**DOUBLE))]) == []


@pytest.mark.parametrize("opening", ["```", "```python"])
@pytest.mark.parametrize("behind", ["", "\n", "\n\nIt doubles.", "\nIt doubles."])
def test_an_answer_is_not_ended_before_its_program(opening: str, behind: str) -> None:
    example = CODE.read(row(**DOUBLE))
    written = f"Here is the function:\n\n{opening}\ndef double(x):\n    return 2 * x\n```{behind}"
    ended = written[: min((at for stop in CODE.stop if (at := written.find(stop)) >= 0), default=None)]
    assert answer(CODE, example, ended).value == "correct"


def test_a_program_that_a_busy_machine_did_not_run_is_not_scored_and_not_learned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    example = CODE.read(row(**DOUBLE))
    busy = SandboxResult(ok=False, is_undecided=True, reason="the machine is too busy")
    monkeypatch.setattr(code, "run_program", lambda *_, **__: busy)
    verdict = answer(CODE, example, example.answer)
    assert (verdict.value, verdict.reason) == ("unscored", "the machine is too busy")
    assert CODE.verify_label(example).value == "wrong"
