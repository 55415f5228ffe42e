"""HellaSwag: how does the text continue? (arXiv 1905.07830)"""

from typing import ClassVar

from pada_agent.evaluation.tasks.gold_option import GoldReading
from pada_agent.evaluation.tasks.multiple_choice import MultipleChoice


class HellaSwag(MultipleChoice):
    """Everyday situations with four endings, one of them real.

        {"ind": 31, "ctx": "A man kneels beside a bicycle. He turns the pedal with one hand. he", "label": 1,
         "endings": ["swims across the pool.", "listens for the clicking of the chain.",
                     "throws the ball to the dog.", "paints the fence in blue."]}

    https://huggingface.co/datasets/Rowan/hellaswag
    """

    name: ClassVar[str] = "hellaswag"
    gold_is: ClassVar[GoldReading | None] = "index"
    question_fields: ClassVar[tuple[str, ...]] = ("question", "ctx")
    label_instruction: ClassVar[str] = "How does the text go on? Answer with the label of the right ending only."
    question_hint: ClassVar[str] = "the beginning of the text, which breaks off where the ending has to follow"
    option_hint: ClassVar[str] = "an ending that continues the text"
