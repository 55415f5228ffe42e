"""Stanford Question Answering Dataset, version 2.0: some questions have no answer (arXiv 1806.03822)."""

from typing import ClassVar

from pada_agent.evaluation.tasks.extractive_qa import ExtractiveQa


class SquadV2(ExtractiveQa):
    """As SQuAD 1.1, with questions that the paragraph does not answer.

        {"id": "6a0d", "title": "Salt_road", "question": "Who paid for the bridge?",
         "context": "Carters crossed the Ilm on a wooden bridge, which was rebuilt in stone in 1478 after a flood.",
         "answers": {"text": [], "answer_start": []}}

    https://huggingface.co/datasets/rajpurkar/squad_v2
    """

    name: ClassVar[str] = "squad_v2"
    default_no_answer: ClassVar[str] = "no answer"
