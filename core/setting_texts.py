"""Texts in settings, and what was hardly meant to be one."""

import re
from typing import Annotated, Any

from pydantic import AfterValidator

_FILE = re.compile(r"(~|\.\.?)/\S+|[^\s{}]+\.(txt|text|md|rst|j2|jinja2?|tmpl|prompt|ya?ml|json|toml)", re.IGNORECASE)
VARIABLE_IN_PATH = r"\$\w|\$\{|%\w+%"
"""What a shell would replace, such as `${HOME}`."""
NOT_REPLACED = "Variables are not replaced in settings: write the whole path, or begin it with ~"
_NO_TEXT = "the word None is read as a text. Leave the setting out, or write null"


def take_name(name: Any) -> Any:
    """A name that may be null: an empty one is taken for null.

    Raises:
        ValueError: it is the word None.
    """
    if name == "None":
        raise ValueError(_NO_TEXT)
    return None if name == "" else name


def is_template(text: str) -> bool:
    """Whether the text holds anything that Jinja would replace."""
    return "{{" in text or "{%" in text


def check_template(text: str) -> str:
    """The text, if it is empty or a Jinja template.

    Raises:
        ValueError: it is neither, but perhaps the name of a file.
    """
    if text and not is_template(text):
        raise ValueError(f"{text!r} is not a Jinja template, and no file of that name could be read")
    return text


def _check_prose(text: str) -> str:
    if text == "None":
        raise ValueError(_NO_TEXT)
    if _FILE.fullmatch(text):
        raise ValueError(f"{text!r} looks like the name of a file, which is not read. Write the text itself here")
    return text


def _check_folder(path: str) -> str:
    if re.search(VARIABLE_IN_PATH, path):
        raise ValueError(f"a folder named {path!r} would be made. {NOT_REPLACED}")
    return path


Prose = Annotated[str, AfterValidator(_check_prose)]
"""Sentences for a model."""
NewFolder = Annotated[str, AfterValidator(_check_folder)]
"""Path of a folder that is made if it does not exist."""
