"""Chooses which of an iteration's rows are trained on, if more were written than are needed."""

from collections.abc import Sequence
from random import Random

from pada_agent.agents.data_generation.selection import choose_by_influence, choose_by_loss, draw_at_random
from pada_agent.core.jobs import INFLUENCE, InfluenceJob
from pada_agent.core.progress import Progress
from pada_agent.core.records import Example, ScoredRow
from pada_agent.core.selection import RowInfluence, Selected
from pada_agent.graph.context import Adapters, report_progress
from pada_agent.graph.rendering import choose_chat
from pada_agent.graph.state import PartialState, RunState
from pada_agent.graph.storing import put_rows, read_output

MAX_FAILURES = 512
"""Failures that rows are compared with, drawn at random from more. Each costs memory and time for every row."""


def select_rows(state: RunState, adapters: Adapters) -> PartialState:
    """Keep as many rows as are needed, chosen as `generation.selection` says."""
    iteration, written = str(state["iteration"]), state["new_rows"]
    if state["settings"].generation.selection == "none":
        return {}
    n_wanted = state["n_wanted"][iteration]
    if written.rows <= n_wanted:
        return {}
    rows = adapters.store.read_rows(written.key, Example)
    selected, told = select(rows, n_wanted, state, adapters)
    chosen = [row for row, choice in zip(rows, selected, strict=True) if choice.is_chosen]
    report_progress(Progress(stage="select_rows", done=1, total=1, detail=f"{len(chosen)} of {len(rows)} rows chosen"))
    return {
        "new_rows": put_rows(adapters.store, "synthetic", chosen),
        "selections": {iteration: put_rows(adapters.store, "selected", selected)},
        "n_joined": {iteration: len(chosen)},
        "n_passed_over": {iteration: len(rows) - len(chosen)},
        "warnings": [f"iteration {iteration}: {text}" for text in told],
    }


def select(rows: Sequence[Example], n: int, state: RunState, adapters: Adapters) -> tuple[list[Selected], list[str]]:
    """For each row, whether it is one of the `n` to train on; and what readers should know of how that was decided."""
    settings, selection = state["settings"], state["settings"].generation.selection
    labels = [adapters.task.closed_label(row) for row in rows]
    seed = f"selection/{settings.seed}/{state['iteration']}"
    if selection == "random":
        return draw_at_random(rows, labels, n, seed=seed), []
    failures = find_targets(state, adapters) if selection == "influence" else []
    influences = measure_influence(failures, state, adapters)
    told = tell_unmeasured(influences, len(failures))
    if selection == "loss":
        return choose_by_loss(rows, labels, influences, n), told
    return choose_by_influence(rows, labels, influences, failures, n), told


def tell_unmeasured(influences: Sequence[RowInfluence], n_failures: int) -> list[str]:
    """Lines about rows and failures that had no part in the choice."""
    n_lost = sum(influence.loss is None for influence in influences)
    n_blank = sum(not any(influence.cosines[i] for influence in influences) for i in range(n_failures))
    return [
        *(
            [f"{n_lost} of {len(influences)} rows to choose from have no finite loss, so others come first"]
            * bool(n_lost)
        ),
        *(
            [
                f"rows were not chosen for {n_blank} of {n_failures} failures, whose right answers are empty or longer than"
                " lora.max_length, or whose gradients are not finite"
            ]
            * bool(n_blank)
        ),
    ]


def find_targets(state: RunState, adapters: Adapters) -> list[Example]:
    """Rows of the diagnosis part of validation that the diagnosed model answered wrongly. The selection part and test rows are never used."""
    failures = state["models"][state["plan"].diagnosed_model].validation_failures
    wrong = [row.example for row in adapters.store.read_rows(failures.key, ScoredRow)] if failures else []
    if len(wrong) <= MAX_FAILURES:
        return wrong
    seed = f"selection-targets/{state['settings'].seed}/{state['iteration']}"
    return Random(seed).sample(wrong, MAX_FAILURES)


def measure_influence(failures: Sequence[Example], state: RunState, adapters: Adapters) -> list[RowInfluence]:
    """Measure how much training on each written row would help each failure, using the diagnosed model's adapter.

    Raises:
        ArtifactError: the job's file is damaged.
    """
    settings, store, rows = state["settings"], adapters.store, state["new_rows"]
    model = state["models"][state["plan"].diagnosed_model]
    assert model.adapter is not None  # only fine-tuned models are diagnosed
    targets = put_rows(store, "influence-targets", failures)
    job = InfluenceJob(
        student=adapters.student,
        adapter=str(store.folder(model.adapter.key)),
        adapter_hash=model.adapter.key,
        load_in=settings.student.load_in,
        rows=str(store.rows_path(rows.key)),
        rows_hash=rows.key,
        targets=str(store.rows_path(targets.key)),
        targets_hash=targets.key,
        max_length=settings.lora.max_length,
        chat=choose_chat(settings.student, adapters),
        seed=settings.seed,
    )
    folder = adapters.compute.wait(adapters.compute.submit(job), report_progress)
    return read_output(folder / INFLUENCE, RowInfluence, n=rows.rows)
