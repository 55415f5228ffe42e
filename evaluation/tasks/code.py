"""Python functions, checked by running their tests."""

import ast
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar

from pada_agent.core.errors import SandboxError
from pada_agent.core.raw_rows import RawRow
from pada_agent.core.records import Example, Prediction, Verdict
from pada_agent.core.syntax_trees import parse
from pada_agent.evaluation.rows.forms import Fields
from pada_agent.evaluation.sandbox import MEMORY_MB, SandboxResult, check_sandbox, run_program
from pada_agent.evaluation.task import DraftProblem, Task, verify_side_by_side
from pada_agent.evaluation.tasks.drafts import find_empty_field
from pada_agent.evaluation.tasks.instruction import instruct
from pada_agent.evaluation.tasks.row_reader import RowReader
from pada_agent.evaluation.verifiers.python_code import (
    FunctionNode,
    close_signature,
    complete_program,
    defines,
    does_same,
    extract_body,
    extract_code,
    fence,
    find_syntax_error,
    parses,
    replace_with_stub,
    source_of,
    trim_to_code,
)
from pada_agent.evaluation.verifiers.python_tests import call_tests, count_asserts

MIN_ASSERTS = 2
N_TRIED = 20
"""Number of rows of a file whose own solution is run before anything else."""
UNISOLATED = (
    "programs that models write run here with your own rights (task.allow_unisolated_code): this machine cannot keep them"
    " from your files, your API keys and the network"
)


class Code(Task):
    """A signature with a docstring to complete.

        {"prompt": "def area(w: float, h: float) -> float:\\n    \\"\\"\\"Area of a rectangle.\\"\\"\\"\\n",
         "canonical_solution": "    return w * h\\n", "entry_point": "area",
         "test": "assert area(2, 3) == 6\\nassert area(0, 5) == 0"}

    The student is trained on the whole function, prompt and solution, in a fenced block: the form in which chat models
    answer. A body alone is accepted too. Of several blocks that define the function, the last one that is Python counts.
    `test` consists of asserts on the function by name, or defines `check(candidate)` or functions `test_…()`.
    """

    name: ClassVar[str] = "code"
    fields: Fields = MappingProxyType(
        {
            "prompt": ("prompt", "question"),
            "solution": ("canonical_solution", "solution"),
            "test": ("test", "tests", "test_list"),
            "entry_point": ("entry_point",),
            "task_id": ("task_id",),
        }
    )
    max_new_tokens = 320
    variety = "Each new function does something of its own."
    stop = ("\n```\n\n", "\nif __name__")  # "\n```\n" may also open a block
    runs_code = True
    default_instruction: ClassVar[str] = (
        "Complete this Python function. Answer with the whole function in one code block."
    )

    def check_machine(self) -> tuple[str, ...]:
        if check_sandbox(allow_unisolated=self.config.allow_unisolated_code):
            return ()
        return (UNISOLATED,)

    def read(self, row: RawRow) -> Example:
        reader = self.reader(row)
        prompt, solution = _read_code(reader, "prompt"), _read_code(reader, "solution")
        test, entry_point = _read_code(reader, "test"), reader.text("entry_point").strip()
        if not defines(prompt, entry_point):
            reader.fail("entry_point", "the prompt defines no such function at its left margin")
        program = complete_program(prompt, solution, entry_point)
        if error := find_syntax_error(program):
            reader.fail("solution", f"with the prompt it is not Python: {error}")
        if error := find_syntax_error(test):
            reader.fail("test", f"it is not Python: {error}")
        if not count_asserts(test, entry_point):
            reader.fail(
                "test",
                "expected assert statements, alone or in a function check(candidate) or test_…(), because no other is"
                " called: without one, any program passes",
            )
        example_id = str(reader.value("task_id")) if reader.has("task_id") else reader.row_id(prompt, solution)
        return self._build(prompt, _write_answer(prompt, solution, entry_point), test, entry_point, example_id)

    def verify(self, example: Example, prediction: Prediction) -> Verdict:
        """Run the program and its tests. It passes if the last test was reached and held."""
        reference = example.reference
        program = complete_program(reference["prompt"], prediction.response, reference["entry_point"])
        result = self._run(program, reference)
        cut = "; the response was cut off" if prediction.truncated and not result.ok else ""
        return Verdict(
            example_id=example.id,
            value="correct" if result.ok else "unscored" if result.is_undecided else "wrong",
            extracted=program,
            reason=result.reason + cut,
        )

    def verify_all(self, examples: Sequence[Example], predictions: Sequence[Prediction]) -> list[Verdict]:
        """Runs one program per core at the same time, as long as memory is free."""
        return verify_side_by_side(self, examples, predictions, memory_bytes=MEMORY_MB * 2**20)

    def list_doubts(self, examples: Sequence[Example]) -> list[str]:
        """Solutions that fail their own tests, and tests that an empty function passes. In a large file, only some rows are
        tried, spread over the file.
        """
        tried = examples[:: -(-len(examples) // N_TRIED)] if examples else []
        answers = [Prediction(example_id=example.id, response=example.answer) for example in tried]
        stubs = [Prediction(example_id=example.id, response=_write_stub(example)) for example in tried]
        try:
            verdicts = self.verify_all([*tried, *tried], [*answers, *stubs])
        except SandboxError:
            return []  # `check_machine` says why
        names = [example.reference["entry_point"] for example in tried]
        of_answers, of_stubs = verdicts[: len(tried)], verdicts[len(tried) :]
        failed = [f"{n} ({v.reason})" for n, v in zip(names, of_answers, strict=True) if v.value != "correct"]
        passed = [n for n, v in zip(names, of_stubs, strict=True) if v.value == "correct"]
        notes = [
            (failed, "solutions", "fail their own tests"),
            (passed, "tests", "prove nothing: a program that does nothing passes them"),
        ]
        return [
            f"{len(found)} of {len(tried)} {what} that were tried {fault}, such as {found[0]}"
            for found, what, fault in notes
            if found
        ]

    def draft_fields(self) -> dict[str, str]:
        return {
            "prompt": "the function's signature with its imports and a docstring that says what it returns, without a body",
            "solution": "the whole function, solved in plain Python",
            "tests": "three or more assert statements that call the function by its name, one a line",
        }

    def show(self, example: Example) -> dict[str, str]:
        reference = example.reference
        solution = extract_code(example.answer, reference["entry_point"])
        return {"prompt": reference["prompt"], "solution": solution, "tests": reference["test"]}

    def compose(
        self, draft: Mapping[str, str], *, source: Example, given: Mapping[str, str], example_id: str
    ) -> Example | DraftProblem:
        """The function that the prompt defines last is the one to write."""
        del source, given
        problem = find_empty_field(draft, self.draft_fields()) or _find_syntax_problem(draft)
        if problem:
            return problem
        prompt, tests = _strip_fence(draft["prompt"]), _strip_fence(draft["tests"])
        entry_point = _find_entry_point(prompt)
        if entry_point is None:
            return DraftProblem(reason="field 'prompt' defines no function")
        program = complete_program(prompt, draft["solution"], entry_point)
        error = find_syntax_error(program)
        if error:
            return DraftProblem(reason=f"field 'solution' is not Python under its prompt: {error}")
        if count_asserts(tests, entry_point) < MIN_ASSERTS:
            return DraftProblem(reason=f"field 'tests' holds fewer than {MIN_ASSERTS} assert statements")
        answer = _write_answer(prompt, draft["solution"], entry_point)
        return self._build(prompt, answer, tests, entry_point, example_id)

    def verify_label(self, example: Example) -> Verdict:
        """The solution must pass its tests, and an empty function must not."""
        reference = example.reference
        if count_asserts(reference["test"], reference["entry_point"]) < MIN_ASSERTS:
            return Verdict(example_id=example.id, value="wrong", reason=f"fewer than {MIN_ASSERTS} asserts")
        verdict = self.verify(example, Prediction(example_id=example.id, response=example.answer))
        if verdict.value != "correct":
            return verdict.model_copy(update={"value": "wrong"})
        if self._run(_write_stub(example), reference).ok:
            reason = "the tests prove nothing: a function that returns None passes them too"
            return Verdict(example_id=example.id, value="wrong", extracted=verdict.extracted, reason=reason)
        return verdict

    def gold(self, example: Example) -> str:
        return extract_code(example.answer, example.reference["entry_point"])

    def _run(self, program: str, reference: Mapping[str, str]) -> SandboxResult:
        tests = call_tests(reference["test"], reference["entry_point"])
        return run_program(program, tests=tests, allow_unisolated=self.config.allow_unisolated_code)

    def _build(self, prompt: str, answer: str, test: str, entry_point: str, example_id: str) -> Example:
        return Example(
            id=example_id,
            prompt=instruct(self.config.instruction or self.default_instruction, fence(prompt)),
            answer=answer,
            reference={"question": prompt, "prompt": prompt, "test": test, "entry_point": entry_point},
        )


def _write_stub(example: Example) -> str:
    """The example's solution as a function that returns None."""
    prompt, entry_point = example.reference["prompt"], example.reference["entry_point"]
    return replace_with_stub(complete_program(prompt, example.answer, entry_point), entry_point)


def _read_code(reader: RowReader, name: str) -> str:
    """Source with uniform line ends, as Python reads it. A list of tests (MBPP) becomes one text."""
    value = reader.nested(name)
    lines = [value] if isinstance(value, str) else value
    if not (isinstance(lines, list | tuple) and all(isinstance(line, str) for line in lines)):
        return reader.verbatim(name)
    return "\n".join(lines).removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def _write_answer(prompt: str, solution: str, entry_point: str) -> str:
    """Prompt and body. A solution keeps its form if it has helpers, decorators or parameters of its own, or if its lines cannot be
    moved.
    """
    program, code = complete_program(prompt, solution, entry_point), extract_code(solution, entry_point)
    body = extract_body(trim_to_code(code), entry_point, prompt) if defines(code, entry_point) else None
    answer = program if body is None else f"{_find_imports(program, prompt)}{prompt.strip()}\n{body}"
    return fence(answer if does_same(answer, program, entry_point) else program)


def _find_imports(program: str, prompt: str) -> str:
    """Import lines of the program that are missing from the prompt."""
    prompt = close_signature(prompt)
    present = {source_of(node, prompt) for node in parse(prompt).body}
    lines = [source_of(n, program) for n in parse(program).body if isinstance(n, ast.Import | ast.ImportFrom)]
    new = [line for line in dict.fromkeys(lines) if line not in present]
    return "".join(f"{line}\n" for line in new)


def _strip_fence(text: str) -> str:
    is_fenced = "```" in text and not parses(text)  # a docstring may have a fence
    return extract_code(text, "") if is_fenced else text.strip("\n")


def _find_syntax_problem(draft: Mapping[str, str]) -> DraftProblem | None:
    for name in ("prompt", "tests"):
        error = find_syntax_error(_strip_fence(draft[name]))
        if error:
            return DraftProblem(reason=f"field '{name}' is not Python: {error}")
    return None


def _find_entry_point(prompt: str) -> str | None:
    names = [node.name for node in parse(prompt).body if isinstance(node, FunctionNode)]
    return names[-1] if names else None
