"""Objects that claim to equal everything are found out where tests compare; honest ones are not."""

import pytest

from pada_agent.evaluation.value_check import CHECK, check_value, compile_tests

ALWAYS = "class A:\n    def __eq__(self, other): return True\n    __lt__ = __ge__ = __eq__\n    __hash__ = None\n"


def run(program: str, tests: str) -> None:
    names: dict[str, object] = {}
    exec(program, names)
    names[CHECK] = check_value
    exec(compile_tests(tests, "tests.py"), names)


@pytest.mark.parametrize(
    ("returned", "test"),
    [
        ("A()", "assert f() == 4"),
        ("A()", "assert 4 == f()"),
        ("A()", "found = f()\nassert found == 4"),
        ("A()", "def check(candidate):\n    assert candidate() == 4\ncheck(f)"),
        ("A()", "assert f() in (1, 2)"),
        ("A()", "assert f() < 3"),
        ("A()", "assert 3 <= f()"),
        ("[1, A()]", "assert f() == [1, 2]"),
        ("{'a': (A(),)}", "assert f() == {'a': (3,)}"),
        ("A()", "assert all(x == y for x, y in [(f(), 2)])"),
        ("__import__('unittest.mock').mock.ANY", "assert f() == 4"),
    ],
)
def test_what_equals_everything_passes_no_test(returned: str, test: str) -> None:
    with pytest.raises(AssertionError, match="claims to be equal to anything"):
        run(f"{ALWAYS}def f(): return {returned}", test)


@pytest.mark.parametrize(
    ("program", "test"),
    [
        ("def f(): return 4", "assert f() == 4 != 5 and f() in (4, 5) and f() is not None"),
        (
            "from dataclasses import dataclass\n@dataclass(order=True)\nclass P:\n    x: int",
            "assert P(1) == P(1) != P(2) and P(1) < P(2)",
        ),
        ("class P:\n    def __eq__(self, other): return other.x == 1\n    x = 1", "assert P() == P()"),
        ("class P:\n    def __eq__(self, other): assert isinstance(other, P); return True", "assert P() == P()"),
        ("def f(): return {1, 2}", "assert f() < {1, 2, 3}"),
        ("def f(): return float('nan')", "x = f()\nassert x != x"),
        ("def f(): return [1, object()]", "from unittest.mock import ANY\nassert f() == [1, ANY]"),
        ("x = []\nx.append(x)\ndef f(): return x", "assert f() != [1]"),
        ("def f(): return 4", "\n".join(["assert f() == " + "+".join(["1"] * 4), "assert (f() ==" + "\n4)"])),
    ],
)
def test_honest_values_are_compared_as_ever(program: str, test: str) -> None:
    run(program, test)


def test_tests_nested_too_deep_to_be_rewritten_run_as_they_are() -> None:
    with pytest.raises(AssertionError):
        run("def f(): return 1", f"assert f() == {'-' * 601}1")


@pytest.mark.parametrize("source", ["assert f(", "x = '\0'"])
def test_what_is_no_python_is_an_error_as_ever(source: str) -> None:
    with pytest.raises((SyntaxError, ValueError)):
        compile_tests(source, "tests.py")
