"""Well-known data sets that general tasks can read."""

from typing import ClassVar

from pada_agent.evaluation.tasks.code import Code
from pada_agent.evaluation.tasks.extractive_qa import ExtractiveQa
from pada_agent.evaluation.tasks.gold_option import GoldReading
from pada_agent.evaluation.tasks.multiple_choice import MultipleChoice


class ArcChallenge(MultipleChoice):
    """AI2 Reasoning Challenge, the hard part (arXiv 1803.05457): school science questions with three to five options.

    Labels are mostly A-D, some 1-4.

        {"id": "Grade5_2011_7", "question": "Which tool measures the mass of a rock?", "answerKey": "C",
         "choices": [{"label": "A", "text": "ruler"}, {"label": "B", "text": "thermometer"},
                     {"label": "C", "text": "balance"}, {"label": "D", "text": "stopwatch"}]}

    https://huggingface.co/datasets/allenai/ai2_arc
    """

    name: ClassVar[str] = "arc_challenge"


class HellaSwag(MultipleChoice):
    """HellaSwag (arXiv 1905.07830): everyday situations with four endings, one of them real.

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


class HumanEval(Code):
    """HumanEval (arXiv 2107.03374): Python functions to complete, each with its tests.

        {"task_id": "HumanEval/900", "entry_point": "count_peaks",
         "prompt": "def count_peaks(xs: list) -> int:\\n    \\"\\"\\"How many elements exceed both neighbours?\\"\\"\\"\\n",
         "canonical_solution": "    return sum(a < b > c for a, b, c in zip(xs, xs[1:], xs[2:]))\\n",
         "test": "def check(candidate):\\n    assert candidate([1, 3, 2]) == 1\\n    assert candidate([]) == 0\\n"}

    https://github.com/openai/human-eval
    """

    name: ClassVar[str] = "humaneval"


class Squad(ExtractiveQa):
    """SQuAD 1.1 (arXiv 1606.05250): questions on paragraphs of Wikipedia.

        {"id": "5f0c", "title": "Salt_road", "question": "When was the bridge rebuilt?",
         "context": "Carters crossed the Ilm on a wooden bridge, which was rebuilt in stone in 1478 after a flood.",
         "answers": {"text": ["1478", "in 1478"], "answer_start": [76, 73]}}

    https://huggingface.co/datasets/rajpurkar/squad
    """

    name: ClassVar[str] = "squad"
    is_official: ClassVar[bool] = True


class SquadV2(ExtractiveQa):
    """SQuAD 2.0 (arXiv 1806.03822): as 1.1, with questions that the paragraph does not answer.

        {"id": "6a0d", "title": "Salt_road", "question": "Who paid for the bridge?",
         "context": "Carters crossed the Ilm on a wooden bridge, which was rebuilt in stone in 1478 after a flood.",
         "answers": {"text": [], "answer_start": []}}

    https://huggingface.co/datasets/rajpurkar/squad_v2
    """

    name: ClassVar[str] = "squad_v2"
    is_official: ClassVar[bool] = True
    default_no_answer: ClassVar[str] = "no answer"
