"""HumanEval: hand-written Python problems (arXiv 2107.03374)."""

from typing import ClassVar

from pada_agent.evaluation.tasks.code import Code


class HumanEval(Code):
    """Python functions to complete, each with its tests.

        {"task_id": "HumanEval/900", "entry_point": "count_peaks",
         "prompt": "def count_peaks(xs: list) -> int:\\n    \\"\\"\\"How many elements exceed both neighbours?\\"\\"\\"\\n",
         "canonical_solution": "    return sum(a < b > c for a, b, c in zip(xs, xs[1:], xs[2:]))\\n",
         "test": "def check(candidate):\\n    assert candidate([1, 3, 2]) == 1\\n    assert candidate([]) == 0\\n"}

    https://github.com/openai/human-eval
    """

    name: ClassVar[str] = "humaneval"
