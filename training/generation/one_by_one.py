"""One row after the other with transformers' own `generate`: slow, but right for every architecture that it supports."""

from collections.abc import Callable, Sequence

import torch
from transformers import GenerationConfig

from pada_agent.training.generation.stopping import Row, Stops
from pada_agent.training.students import Student


def write_alone(student: Student, rows: Sequence[Row], stops: Stops, *, on_done: Callable[[int], None]) -> None:
    """Write all rows. For models with convolutions or states, which padding or a shared pass would disturb."""
    greedy = GenerationConfig(
        max_new_tokens=stops.max_new_tokens,
        do_sample=False,
        eos_token_id=sorted(stops.end_ids),
        pad_token_id=min(stops.end_ids),
    )

    def look(_: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        student.refuse_nan(logits.max())
        return logits

    for n_done, row in enumerate(rows, start=1):
        ids = torch.tensor([row.prompt], device=student.device)
        written = student.model.generate(
            ids, attention_mask=torch.ones_like(ids), generation_config=greedy, logits_processor=[look]
        )
        stops.add_all(row, written[0, len(row.prompt) :].tolist())
        on_done(n_done)
