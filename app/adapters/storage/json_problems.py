"""Explains what is wrong with a JSON file: where it is, what it looks like, and what to do."""

import json
import re
from typing import Any

from pada_agent.app.adapters.storage.file_kinds import guess_text

ONE_A_LINE = 'Write one object on each line, such as {"question": "…", "answer": "…"}.'
_PYTHON = re.compile(r"(None|True|False|nan|undefined)\b")
_CURLY = "“”„«»"
_N_SHOWN = 30


def explain_json(exc: Exception, text: str) -> str:
    """Why the text that begins a value cannot be read, in one sentence."""
    if isinstance(exc, RecursionError):
        return "it is nested too deeply."
    reason = _explain_syntax(exc, text) if isinstance(exc, json.JSONDecodeError) else str(exc)
    return reason if reason.endswith("?") else f"{reason}."


def _explain_syntax(exc: json.JSONDecodeError, text: str) -> str:
    begin, rest = text.strip(), exc.doc[exc.pos :].lstrip()
    if begin.startswith(("//", "/*", "#")) or rest.startswith(("//", "/*", "#")):
        return "there is a comment, which JSON does not have. Remove it"
    if re.match(r"\{\s*'", begin):
        return "keys and texts need double quotes, but this has single ones, as Python prints them"
    if begin.endswith("},") and rest.startswith(","):
        return "it ends with a comma. Remove it, or put all rows between [ and ]"
    if not rest or exc.msg.startswith("Unterminated string"):
        return "it ends in the middle of an object. Is the file cut off, or a quote not closed?"
    if exc.msg.startswith("Illegal trailing comma") or (rest[0] in "}]" and exc.doc[: exc.pos].rstrip().endswith(",")):
        return f"at column {exc.colno}, there is an extra comma after the last value"
    return f"at column {exc.colno}, {_name_fault(exc.msg, rest)}"


def _name_fault(said: str, rest: str) -> str:
    found = repr(rest.split("\n")[0].rstrip()[:_N_SHOWN])
    if rest[0] in _CURLY:
        return f'{found} begins with a curly quote, but keys and texts need straight ones (")'
    if _PYTHON.match(rest):
        return f"{found} is not JSON, which writes null, true and false"
    if said.startswith("Expecting property name"):
        return f"a key in double quotes is expected, but there is {found}"
    if "delimiter" in said:
        return f'{said.split()[1]} is expected, but there is {found}. Is a quote inside a text not written as \\"'
    if said.startswith("Invalid control character"):
        return "a text contains a tab, a line break or another control character, which JSON writes as \\t, \\n, …,"
    if "escape" in said:
        return f"a backslash is followed by what JSON does not know, in {found} (a backslash itself is written twice)"
    if said.startswith("Extra data"):
        return f"there is something after the end of the value: {found}"
    return f"a value is expected, but there is {found}"


def name_other_format(text: str) -> str | None:
    """What a file with this beginning is, if its first line is not JSON and its format can be recognized."""
    begin = text.lstrip()
    if begin.startswith(("{", "[", "//", "/*", "#")):
        return None
    kind = guess_text(text)
    return f"is {kind.name}, not JSON. Name it {kind.suffix}" if kind else None


def is_unfinished(line: str) -> bool:
    """Whether an object begins on this line and does not end on it."""
    text = line.strip()
    try:
        json.loads(text)
    except json.JSONDecodeError as exc:
        return text.startswith("{") and exc.pos >= len(text)
    except (ValueError, RecursionError):
        return False  # too long a number, or nested too deeply
    return False


def count_objects(line: str, decoder: json.JSONDecoder) -> int:
    """Number of objects in a row on a line, with or without commas. 0 if there is anything else."""
    n, place, text = 0, 0, line.strip()
    while place < len(text):
        try:
            value, place = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            return 0
        if not isinstance(value, dict):
            return 0
        n += 1
        while text[place : place + 1] in (",", " ", "\t"):
            place += 1
    return n


def spell_type(value: Any) -> str:
    """The name that a person would use for the type of a value."""
    names = {list: "a list", str: "a text", bool: "true or false", type(None): "null", dict: "an object"}
    return names.get(type(value), "a number")
