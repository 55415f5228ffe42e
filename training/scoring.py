"""Chooses among options by likelihood."""

from collections.abc import Callable, Sequence

import torch

from pada_agent.core.errors import DatasetError
from pada_agent.core.records import Example, Prediction
from pada_agent.training.encoding import ChatEncoder, Encoded, join
from pada_agent.training.kernels.prefix_tree import pack_for, target_logprobs
from pada_agent.training.students import Student

MAX_PACK_TOKENS = {"cpu": 512, "cuda": 4096}


@torch.inference_mode()
def score_options(
    student: Student, encoder: ChatEncoder, examples: Sequence[Example], *, on_done: Callable[[int], None]
) -> list[Prediction]:
    """The option with the highest length-normalized log-likelihood for each example; in a tie, the first.

    An option's score is the sum of its tokens' log-probabilities after the prompt and what the chat template puts before an
    answer, without the end of turn, divided by its length in characters, as for `acc_norm` in EleutherAI's lm-evaluation-harness.

    Raises:
        DatasetError: an option is empty, or a row is longer than the model's context. Names the row.
        TrainingError: the weights give NaN.
    """
    encoded = [_encode(student, encoder, example) for example in examples]
    order = sorted(range(len(examples)), key=lambda i: encoded[i][0].input_ids)
    flat = [row for i in order for row in encoded[i]]
    sums = torch.zeros(len(flat), dtype=torch.float64)
    n_scored = 0
    for part in pack_for(student.model, flat, MAX_PACK_TOKENS[student.device.type]):
        sums.index_add_(0, part.owners.cpu(), target_logprobs(student.model, part).double().cpu())
        n_options = int(part.owners[-1] - part.owners[0]) + 1
        n_scored += n_options
        on_done(n_scored * len(examples) // len(flat))
    student.refuse_nan(sums)
    totals = iter(sums.tolist())
    predictions = {i: _choose(examples[i], [next(totals) for _ in encoded[i]]) for i in order}
    return [predictions[i] for i in range(len(examples))]


def _encode(student: Student, encoder: ChatEncoder, example: Example) -> list[Encoded]:
    prompt = encoder.prompt(example)
    answers = encoder.answers(example, example.options)
    n_lead = encoder.count_lead(example, answers)
    if not all(answer[n_lead:] for answer in answers):
        raise DatasetError(f"row {example.id!r} has an empty option")
    if len(prompt) + max(map(len, answers)) > student.context_tokens:
        raise DatasetError(
            f"row {example.id!r} is longer than the student's context of {student.context_tokens} tokens"
        )
    return [join(prompt + answer[:n_lead], answer[n_lead:]) for answer in answers]


def _choose(example: Example, sums: list[float]) -> Prediction:
    scores = tuple(total / len(option) for total, option in zip(sums, example.options, strict=True))
    best = max(range(len(scores)), key=scores.__getitem__)
    return Prediction(example_id=example.id, response=example.options[best], option_scores=scores)
