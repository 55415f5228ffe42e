"""GSM8K: grade school math word problems (arXiv 2110.14168)."""

import re
from typing import ClassVar

from pydantic import JsonValue

from pada_agent.core.raw_rows import RawRow
from pada_agent.core.records import Example
from pada_agent.evaluation.tasks.numeric import Numeric

ANNOTATION = re.compile(r"<<[^<>=\n]{1,200}=[^<>\n]{1,200}>>")


class Gsm8k(Numeric):
    """Word problems in two to eight steps. Calculator annotations (`<<…>>`) are left out: rows that an LLM writes have none.

        {"question": "Ana fills 4 jars with 12 plums each and eats 5. How many plums are in the jars now?",
         "answer": "The jars hold 4*12=<<4*12=48>>48 plums.\\nAfter eating there are 48-5=<<48-5=43>>43.\\n#### 43"}

    https://huggingface.co/datasets/openai/gsm8k
    """

    name: ClassVar[str] = "gsm8k"
    default_instruction: ClassVar[str] = (
        "Solve the problem step by step. End with a line that holds #### and the final number."
    )

    def read(self, row: RawRow) -> Example:
        fields = {name: _without_annotations(value) for name, value in row.fields.items()}
        return super().read(row.model_copy(update={"fields": fields}))


def _without_annotations(value: JsonValue) -> JsonValue:
    """Also removes them from the turns of a conversation."""
    if isinstance(value, str):
        return ANNOTATION.sub("", value)
    if isinstance(value, list):
        return [_without_annotations(item) for item in value]
    if isinstance(value, dict):
        return {key: _without_annotations(item) for key, item in value.items()}
    return value
