"""How long a text in an answer has to be, so that it says something, in any writing system."""

from typing import Any
from unicodedata import east_asian_width

from pydantic import AfterValidator, Field
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

WIDE = 3
"""What a Chinese, Japanese or Korean character counts: two of them are often a sentence such as 正确."""


def measure(text: str) -> int:
    """The length in letters of an alphabet."""
    return sum(WIDE if east_asian_width(c) in "WF" else 1 for c in text.strip())


def at_least(n: int, description: str) -> Any:
    """A pydantic field, required, for a text of at least `n` letters."""

    def check(text: str) -> str:
        if measure(text) < n:
            raise PydanticCustomError("too_short", "a text of at least {n} characters is expected", {"n": n})
        return text

    field: FieldInfo = Field(description=description, json_schema_extra={"minLength": n})
    field.metadata.append(AfterValidator(check))
    return field
