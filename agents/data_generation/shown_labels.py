"""Real rows of several labels, shown to the writer as answers that it gave earlier in the conversation.

A weak writer that is told about real rows still writes like an assistant. After answers that are real rows, it goes on in
their tone and length (docs/adr/0018).
"""

from collections.abc import Mapping, Sequence
from random import Random

from pada_agent.agents.data_generation.batch_planning import rows_by_label
from pada_agent.core.generation_config import GenerationConfig
from pada_agent.core.records import Example
from pada_agent.evaluation.task import Task
from pada_agent.prompts.prompted_model import ShownRows

TEMPLATE = "real_examples"


def show_labels(
    label: str,
    own: Sequence[Example],
    training: Sequence[Example],
    *,
    fields: Sequence[str],
    task: Task,
    settings: GenerationConfig,
    seed: int,
) -> list[ShownRows]:
    """A turn for each of `n_shown_labels` other labels, with a few training rows each, and a last one for `label` with its `own` rows.

    The other labels and their rows are the same for all labels that are not among them, so that a provider's prompt cache can
    reuse them.

    Args:
        fields: what a written row consists of. Given fields, such as the label, are not among them.
    """
    by_label = rows_by_label(training, task)
    known = [name for name in task.config.labels if name in by_label]
    order = Random(f"shown-labels/{seed}").sample(known, len(known))
    others = [name for name in order if name != label][: settings.n_shown_labels]
    n_rows = max(1, settings.n_demonstrations)
    rows = {name: _draw(by_label[name], n_rows, f"shown-rows/{seed}/{name}") for name in others}
    turns = [*rows.items(), (label, own)]
    return [
        ShownRows(
            template=TEMPLATE,
            variables={
                "is_first": place == 0,
                "task": task.about(examples),
                "n": len(examples),
                "label": name,
                "definition": task.config.labels[name],
            },
            items=tuple({"row": n, **_written(e, fields, task)} for n, e in enumerate(examples, start=1)),
        )
        for place, (name, examples) in enumerate(turns)
    ]


def _draw(rows: Sequence[Example], n: int, seed: str) -> list[Example]:
    return Random(seed).sample(list(rows), min(n, len(rows)))


def _written(example: Example, fields: Sequence[str], task: Task) -> Mapping[str, str]:
    shown = task.show(example)
    return {name: shown[name] for name in fields if name in shown}
