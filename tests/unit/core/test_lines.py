"""Text is cut into lines where files and programs end them, and nowhere else."""

import re
from pathlib import Path

import pytest

from pada_agent.core.lines import split_lines

ROOT = Path(__file__).parents[3]
ROOMS = (
    "agents",
    "app",
    "benchmarks",
    "core",
    "evaluation",
    "examples",
    "graph",
    "pada_agent",
    "prompts",
    "tools",
    "training",
)
CUTS_TOO_OFTEN = re.compile(r"\.splitlines\(|textwrap\.indent\(")
ALLOWED: frozenset[str] = frozenset()
"""Files in which text may be cut wherever `str.splitlines` sees a line end. None today: say why, if you add one."""


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", []),
        ("a", ["a"]),
        ("a\nb\n", ["a", "b"]),
        ("a\r\nb\rc", ["a", "b", "c"]),
        ("a\n\n", ["a", ""]),
        (
            "one\u2028line\u2029and\x85no\x0bother\x0c\x1c\x1d\x1e",
            ["one\u2028line\u2029and\x85no\x0bother\x0c\x1c\x1d\x1e"],
        ),
    ],
)
def test_lines_end_where_files_end_them(text: str, lines: list[str]) -> None:
    assert split_lines(text) == lines


def test_nothing_in_the_product_cuts_text_at_what_splitlines_takes_for_a_line_end() -> None:
    files = [path for room in ROOMS for path in (ROOT / room).rglob("*.py") if not path.is_symlink()]
    assert len(files) > 100
    found = {str(path.relative_to(ROOT)) for path in files if CUTS_TOO_OFTEN.search(path.read_text(encoding="utf-8"))}
    assert found <= ALLOWED, "use core.lines.split_lines"
