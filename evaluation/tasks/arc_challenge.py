"""AI2 Reasoning Challenge, the hard part (arXiv 1803.05457)."""

from typing import ClassVar

from pada_agent.evaluation.tasks.multiple_choice import MultipleChoice


class ArcChallenge(MultipleChoice):
    """School science questions with three to five options; labels are mostly A-D, some 1-4.

        {"id": "Grade5_2011_7", "question": "Which tool measures the mass of a rock?", "answerKey": "C",
         "choices": [{"label": "A", "text": "ruler"}, {"label": "B", "text": "thermometer"},
                     {"label": "C", "text": "balance"}, {"label": "D", "text": "stopwatch"}]}

    https://huggingface.co/datasets/allenai/ai2_arc
    """

    name: ClassVar[str] = "arc_challenge"
