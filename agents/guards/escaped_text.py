"""Characters that a writer has escaped once too often, so that the row would show the escape: `caf\\u00e9`, `\\n`, `&amp;`."""

import html
import re
from collections.abc import Iterable, Mapping

from pada_agent.core.surrogates import join_surrogates

_FORMS: Mapping[str, re.Pattern[str]] = {
    "code": re.compile(r"\\u(?!00[01][0-9a-f]|007f)([0-9a-f]{4})", re.IGNORECASE),
    "line break": re.compile(r"\\n(?![a-z])"),
    "quotation mark": re.compile(r'\\"([^"\\]*)\\"'),
    "entity": re.compile(r"&(?:amp|lt|gt|quot|apos|nbsp|#\d{2,6}|#x[0-9a-f]{2,5});", re.IGNORECASE),
}
r"""Commands of LaTeX such as `\nu` go on in lower case."""


def unescape_as_in(real: Iterable[str], fields: Mapping[str, str]) -> dict[str, str]:
    """The fields with such characters as they were meant. A form of escape that a real text has belongs to the data, and stays.

    Args:
        real: texts of the row that the fields were written after.
    """
    own = "\n".join(real)
    forms = [(name, form) for name, form in _FORMS.items() if not form.search(own)]
    return {name: _unescape(text, forms) for name, text in fields.items()}


def _unescape(text: str, forms: Iterable[tuple[str, re.Pattern[str]]]) -> str:
    for name, form in forms:
        text = form.sub(lambda found, name=name: _read(name, found), text)  # type: ignore[misc]
    return join_surrogates(text)


def _read(name: str, found: re.Match[str]) -> str:
    if name == "code":
        return chr(int(found[1], 16))
    if name == "line break":
        return "\n"
    return f'"{found[1]}"' if name == "quotation mark" else html.unescape(found[0]).replace("\xa0", " ")
