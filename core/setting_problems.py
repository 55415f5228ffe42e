"""What is wrong with a setting, in words, and what may have been meant."""

import re
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from pada_agent.core.setting_kinds import alternatives, is_group, kind_below, kind_of_items
from pada_agent.core.settings import FOLDER_NAME, VARIABLE
from pada_agent.core.suggestions import suggest

_PATTERNS = {
    FOLDER_NAME: "letters, digits, '.', '_' and '-', the first a letter or a digit: it is also the name of a folder",
    VARIABLE: "the name of an environment variable, such as OPENAI_API_KEY",
}
"""What a text that fits such a pattern is, in words."""


def explain(error: ErrorDetails, kind: type[BaseModel]) -> str:
    """One of pydantic's errors on settings of `kind`."""
    if error["type"] == "extra_forbidden":
        *place, name = map(str, error["loc"])
        return f"there is no such setting.{_suggest_key(kind, place, name)}"
    if error["type"] in ("literal_error", "enum"):
        choices = re.findall(r"'([^']*)'", str(error.get("ctx", {}).get("expected", "")))
        return f"{error['msg']}.{suggest(error['input'], choices)}"
    if error["type"] == "string_type" and isinstance(error["input"], list | tuple):
        files = " Join the files into one." if error["loc"][0] == "data" else ""
        return f"expected one text, found a list.{files}"
    told = error["msg"].removeprefix("Value error, ")
    wanted = _PATTERNS.get(str(error.get("ctx", {}).get("pattern")))
    return f"expected {wanted}" if error["type"] == "string_pattern_mismatch" and wanted else told


def _suggest_key(kind: type[BaseModel], place: list[str], name: str) -> str:
    """A key of the same group that is spelt alike, else the one setting of that name in another group."""
    here: Any = kind
    for key in place:
        below = kind_below(here, key)
        here = kind_of_items(here) if below is None and key.isdigit() else below
    known = [key for group in alternatives(here) for key in getattr(group, "model_fields", ())]
    elsewhere = [key for key in _list_keys(kind) if key.rpartition(".")[2] == name]
    return suggest(name, known) or (f" Did you mean {elsewhere[0]!r}?" if len(elsewhere) == 1 else "")


def _list_keys(kind: type[BaseModel], before: str = "") -> Iterator[str]:
    for name, field in kind.model_fields.items():
        yield f"{before}{name}"
        annotation: Any = field.annotation
        for group in alternatives(annotation):
            if is_group(group) and hasattr(group, "model_fields"):
                yield from _list_keys(group, f"{before}{name}.")
