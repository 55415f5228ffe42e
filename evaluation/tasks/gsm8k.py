"""Grade school math word problems."""

from typing import ClassVar

from pada_agent.evaluation.tasks.numeric import Numeric


class Gsm8k(Numeric):
    """Word problems in two to eight steps, with calculator annotations in `<<…>>`.

        {"question": "Ana fills 4 jars with 12 plums each and eats 5. How many plums are in the jars now?",
         "answer": "The jars hold 4*12=<<4*12=48>>48 plums.\\nAfter eating there are 48-5=<<48-5=43>>43.\\n#### 43"}

    https://huggingface.co/datasets/openai/gsm8k
    """

    name: ClassVar[str] = "gsm8k"
    default_instruction: ClassVar[str] = (
        "Solve the problem step by step. End with a line that holds #### and the final number."
    )
