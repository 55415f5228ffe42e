"""Greedy generation: each row gets the text it would get alone."""

from collections.abc import Callable, Sequence

import torch

from pada_agent.core.errors import DatasetError
from pada_agent.core.ports import PredictJob
from pada_agent.core.records import Example, Prediction
from pada_agent.training.encoding import ChatEncoder
from pada_agent.training.own_attention import is_plain
from pada_agent.training.packed_linear import pack_linear_layers
from pada_agent.training.padded_writing import write_padded
from pada_agent.training.recorded_writing import write_recorded
from pada_agent.training.slot_writing import write_in_slots
from pada_agent.training.students import Student
from pada_agent.training.writing import Row, Stops


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
        DatasetError: a row that leaves no room in the model's context; names the row.
    """
    rows = [Row(encoder.prompt(example)) for example in examples]
    for example, row in zip(examples, rows, strict=True):
        if len(row.prompt) + job.max_new_tokens > student.context_tokens:
            raise DatasetError(
                f"row {example.id!r} has {len(row.prompt)} tokens; with {job.max_new_tokens} new ones that is more than"
                f" the student's context of {student.context_tokens}"
            )
    stops = Stops(student, job, encoder.end_token_id)
    if rows and is_plain(student.model) and student.device.type == "cuda":
        write_recorded(student, rows, stops, on_done=on_done)
    elif rows:
        write = write_in_slots if is_plain(student.model) else write_padded
        with pack_linear_layers(student.model):
            write(student, rows, stops, batch_size=job.batch_size, on_done=on_done)
    return [stops.read(example, row) for example, row in zip(examples, rows, strict=True)]
