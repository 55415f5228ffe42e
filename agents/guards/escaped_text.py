"""Characters that a writer has escaped once too often, so that the row would show the escape: `caf\\u00e9`, `\\n`, `&amp;`."""

import html
import json
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from pada_agent.core.surrogates import join_surrogates

_ENTITY = re.compile(r"&(?:amp|lt|gt|quot|apos|nbsp|#\d{2,6}|#x[0-9a-f]{2,5});", re.IGNORECASE)


class _Form(NamedTuple):
    """A kind of escape."""

    escape: re.Pattern[str]
    own: re.Pattern[str]
    """What texts have that belong with such escapes."""
    bare: re.Pattern[str]
    """The same characters as they are. Whoever writes them beside their escapes means the escapes."""


_FORMS: Mapping[str, _Form] = {
    "code": _Form(
        re.compile(r"(?<!\\)\\u(?!00[01][0-9a-f]|007f)([0-9a-f]{4})", re.IGNORECASE),
        own=re.compile(r"\\u"),
        bare=re.compile(r"(?!)"),
    ),
    "line break": _Form(
        re.compile(r"(?<![\\\"'`])\\n(?![a-z\"'`]|(?:Left|Right|Leftright)arrow|V[Dd]ash)"),
        own=re.compile(r"\\n"),
        bare=re.compile(r"\n"),
    ),
    "quotation mark": _Form(
        re.compile(r'(?<!\\)\\"([^"\\]*)\\"'), own=re.compile(r'\\"'), bare=re.compile(r'(?<!\\)"')
    ),
    "entity": _Form(_ENTITY, own=_ENTITY, bare=re.compile(r"[<>]|&(?!#?\w+;)")),
}
r"""Commands of LaTeX such as `\nu` and `\nVdash` are no escapes, and its lines end with `\\`."""
_ABOUT_ESCAPES = re.compile(
    r"\b(?:html|xml|unicode|json|latex|regex(?:es|p)?|regular expressions?|escape(?:d| sequences?)|newlines?|line breaks?"
    r"|python|java(?:script)?)\b|\b[C-F]:\\|```|\\[dswDSW](?![a-z])",
    re.IGNORECASE,
)
"""Subjects with escapes of their own, paths of Windows, code and patterns."""


def unescape_as_in(real: Iterable[str], fields: Mapping[str, str]) -> dict[str, str]:
    """The fields with such characters as they were meant.

    A form of escape that a real text has belongs to the data, and stays. So do all in a row that speaks of what has escapes, and
    in a field that is JSON.

    Args:
        real: texts of the row that the fields were written after.
    """
    if any(map(_ABOUT_ESCAPES.search, fields.values())):
        return dict(fields)
    own = "\n".join(real)
    forms = [(name, form) for name, form in _FORMS.items() if not form.own.search(own)]
    return {name: text if _is_json(text) else _unescape(text, forms) for name, text in fields.items()}


def _is_json(text: str) -> bool:
    if not text.lstrip().startswith(("{", "[", '"')):
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _unescape(text: str, forms: Iterable[tuple[str, _Form]]) -> str:
    meant = [(name, form.escape) for name, form in forms if not form.bare.search(text)]
    if any(escape.fullmatch(text.strip()) for _, escape in meant):  # an option of a question about it
        return text
    for name, escape in meant:
        text = escape.sub(lambda found, name=name: _read(name, found), text)  # type: ignore[misc]
    return join_surrogates(text)


def _read(name: str, found: re.Match[str]) -> str:
    if name == "code":
        return chr(int(found[1], 16))
    if name == "line break":
        return "\n"
    return f'"{found[1]}"' if name == "quotation mark" else html.unescape(found[0]).replace("\xa0", " ")
