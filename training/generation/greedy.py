"""Greedy generation: each row gets the text that it would get alone."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from pada_agent.core.jobs import PredictJob
from pada_agent.core.records import Example, Prediction
from pada_agent.training.encoding import ChatEncoder
from pada_agent.training.generation.continuous_batching import write_in_slots
from pada_agent.training.generation.graphed_batching import write_recorded
from pada_agent.training.generation.one_by_one import write_alone
from pada_agent.training.generation.static_batching import write_padded
from pada_agent.training.generation.stopping import Stops, encode_rows
from pada_agent.training.kernels.attention_hook import is_plain, takes_padding
from pada_agent.training.kernels.prepacked_linear import pack_linear_layers
from pada_agent.training.students import Student

MAX_BYTES = 2 * 2**30
"""Limit for the keys and values of all rows in a batch on CPU, if each reached its last token."""


@torch.inference_mode()
def generate(
    student: Student,
    encoder: ChatEncoder,
    examples: Sequence[Example],
    *,
    job: PredictJob,
    on_done: Callable[[int], None],
) -> list[Prediction]:
    """What the student writes, up to its end of turn, a stop string, or `job.max_new_tokens`.

    Raises:
        DatasetError: a row leaves no room in the model's context. Names the row.
        TrainingError: the weights give NaN.
    """
    rows = encode_rows(encoder, examples, max_new_tokens=job.max_new_tokens, context_tokens=student.context_tokens)
    stops = Stops(student.tokenizer, job, encoder.stop_token_ids)
    longest = max((len(row.prompt) for row in rows), default=0) + job.max_new_tokens
    on_cuda = student.device.type == "cuda"
    if rows and is_plain(student.model) and on_cuda and not student.is_in_4bit:
        write_recorded(student, rows, stops, on_done=on_done)
    elif rows and not takes_padding(student.model, longest):
        write_alone(student, rows, stops, on_done=on_done)
    elif rows:
        write = write_in_slots if is_plain(student.model) and not on_cuda else write_padded
        n_affordable = max(1, MAX_BYTES // (longest * count_position_bytes(student.model)))
        with pack_linear_layers(student.model):
            write(student, rows, stops, batch_size=min(job.batch_size, n_affordable), on_done=on_done)
    return [stops.read(example, row) for example, row in zip(examples, rows, strict=True)]


def count_position_bytes(model: Any) -> int:
    """Bytes of one token's keys and values in all layers, which may differ. At least 1, for models that have none."""
    config = model.config.get_text_config()
    layers = getattr(config, "per_layer_config", None) or [config] * config.num_hidden_layers
    return max(1, int(2 * sum(map(_count_widths, layers)) * model.dtype.itemsize))


def _count_widths(layer: Any) -> int:
    """Number of values in one token's keys."""
    n_queries = getattr(layer, "num_attention_heads", 0)
    n_heads = getattr(layer, "num_key_value_heads", None) or n_queries
    return int(n_heads * (getattr(layer, "head_dim", None) or layer.hidden_size // max(1, n_queries)))
