"""Texts of an answer as their writer meant them: LaTeX whose backslash JSON takes for an escape, and no control characters."""

import re

_MISREAD = re.compile(
    r"""[\b\f](?=[A-Za-z])
    | \t(?=(?:imes|frac|heta|riangle|ilde)(?![a-z]) | ext(?:bf|it|rm|tt|sf)?[ ]?\{ | an(?=[({\\^]) | au(?=[_^}\\$)=]))
    | \r(?=(?:ight|ho|angle|ceil|floor|ightarrow|brace)(?![a-z]) | m[ ]?\{)
    | \n(?=(?:eq|abla|mid|otin)(?![a-z]) | u(?=[_^}\\$]))
    """,
    re.VERBOSE,
)
r"""What JSON makes of `\boxed`, `\frac`, `\times`, `\right`, `\neq` and the like where the backslash is not written twice."""
_LETTERS = {"\b": "b", "\f": "f", "\t": "t", "\r": "r", "\n": "n"}
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f]")
"""No text has them, and files, databases and terminals take offence."""


def restore(text: str) -> str:
    r"""The text with `\frac` where JSON read a form feed and `rac`, and without control characters that are no white space."""
    return _CONTROL.sub("", _MISREAD.sub(lambda match: "\\" + _LETTERS[match[0]], text))
