"""Stanford Question Answering Dataset, version 1.1 (arXiv 1606.05250)."""

from typing import ClassVar

from pada_agent.evaluation.tasks.extractive_qa import ExtractiveQa


class Squad(ExtractiveQa):
    """Questions on paragraphs of Wikipedia.

        {"id": "5f0c", "title": "Salt_road", "question": "When was the bridge rebuilt?",
         "context": "Carters crossed the Ilm on a wooden bridge, which was rebuilt in stone in 1478 after a flood.",
         "answers": {"text": ["1478", "in 1478"], "answer_start": [76, 73]}}

    https://huggingface.co/datasets/rajpurkar/squad
    """

    name: ClassVar[str] = "squad"
