"""LaTeX in JSON whose backslash is written once, and characters that no text has."""

import json

import pytest

from pada_agent.prompts.escapes import restore
from pada_agent.prompts.extraction import find_listings


@pytest.mark.parametrize(
    "latex",
    [
        r"What is $\frac{1}{2}$?",
        r"\boxed{5}",
        r"3 \times 4",
        r"\left(\frac{a}{b}\right)",
        r"5 \text{ km}",
        r"\textbf{no}",
        r"a \neq b",
        r"\beta + \theta = \rho",
        r"\forall x \notin \binom{n}{k}",
        r"\tan(x) and \tau_1 and \nu^2",
        r"For which $x\neq 0$ is this true?",
        r"$3\nmid n$",
        r"x\neq \sqrt{2}",
        r"$\nu_1$",
    ],
)
def test_latex_is_read_as_it_was_meant(latex: str) -> None:
    (listing,) = find_listings('[{"question": "' + latex + '"}]')
    assert listing.items == ({"question": latex},)
    (listing,) = find_listings(json.dumps([{"question": latex}]))
    assert listing.items == ({"question": latex},)


@pytest.mark.parametrize(
    "text",
    [
        "One line\nnot two\r\nrows of a\ttable\tto an end\nu = 5\nequal\n\tif x:\n\t\treturn text\n",
        "a\ttimetable\ttextile\tfraction",
        "a page\f\nanother",
        "SELECT\nmid, title FROM movie WHERE id = $1\nu_id = $2",
        "small\nmid\nlarge",
        "a=1\nu_id=2",
        "a\neq b",
        "It is $5\nmid price $10",
        "const t = `${a}-${b}`\nmid = f($(x), $(y))",
        "grep 'x$'\nmid='y$'",
        "lo = 0\nmid = lo + hi\nprint('\\n\\t', re.match(r'\\d+\\s', s))",
    ],
)
def test_white_space_stays(text: str) -> None:
    (listing,) = find_listings(json.dumps([{"question": text}]))
    assert listing.items == ({"question": text},)


def test_control_characters_are_left_out() -> None:
    assert restore("a\0b\x1b[2Jc\x7f\x07") == "ab[2Jc"
