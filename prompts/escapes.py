"""Texts of an answer as their writer meant them: LaTeX whose backslash JSON takes for an escape, and no control characters."""

import re

_MISREAD = re.compile(
    r"""[\b\f](?=[A-Za-z])
    | \t(?=(?:imes|frac|heta|riangle|ilde)(?![a-z]) | ext(?:bf|it|rm|tt|sf)?[ ]?\{ | an(?=[({\\^]) | au(?=[_^}\\$)=]))
    | \r(?=(?:ight|ho|angle|ceil|floor|ightarrow|brace)(?![a-z]) | m[ ]?\{)
    | \n(?=(?:abla|otin)(?![a-z])) | (?<=[ ])\n(?=eq[ ])
    """,
    re.VERBOSE,
)
r"""What JSON makes of `\boxed`, `\frac`, `\times`, `\right`, `\nabla` and the like where the backslash is not written twice."""
_LINE_BREAK = re.compile(r"\n(?=(?:eq|mid)(?![A-Za-z]) | u(?=[_^}\\$]))", re.VERBOSE)
r"""The same for `\neq`, `\nmid` and `\nu`, unless lines begin with words such as `mid` and `u_id`, as they do in code and queries."""
_LATEX = re.compile(
    r"""\\(?: [dt]?frac | d?binom | sqrt | text(?:bf|it|rm)?(?=\{) | math[a-z]+ | boxed | left | right | times | cdot | sum | prod
        | int | lim | log | ln | sin | cos | tan | pi | alpha | beta | gamma | delta | theta | lambda | mu | rho | sigma | tau | phi
        | omega | leq? | geq? | notin | nabla | forall | exists | infty | pm )(?![a-z])
    | \$(?=[\w\\|\n-])[^$]*(?<=\S)\$(?![\w{(])
    """,
    re.VERBOSE,
)
r"""A command such as `\sqrt`, or a formula in dollar signs. Prices and the variables of programs are none."""
_LETTERS = {"\b": "b", "\f": "f", "\t": "t", "\r": "r", "\n": "n"}
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f]")
"""No text has them, and files, databases and terminals take offence."""


def restore(text: str) -> str:
    r"""The text with `\frac` where JSON read a form feed and `rac`, and without control characters that are no white space.

    A line break that may be meant as one is restored to `\neq` or the like only where the text has other LaTeX.
    """
    text = _MISREAD.sub(_put_backslash, text)
    if _LINE_BREAK.search(text) and _LATEX.search(text):
        text = _LINE_BREAK.sub(_put_backslash, text)
    return _CONTROL.sub("", text)


def _put_backslash(misread: re.Match[str]) -> str:
    return "\\" + _LETTERS[misread[0]]
