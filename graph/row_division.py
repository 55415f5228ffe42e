"""Divides an iteration's rows between the branches, which depends on how many can be written from training errors.

Analysis needs only the validation failures, so it does not wait for the student's answers to the training rows. Each branch asks
for the division when it needs it; whichever asks first has it computed.
"""

from pada_agent.agents.data_generation.batch_planning import BranchShares, split_rows
from pada_agent.core.generation_config import GenerationConfig
from pada_agent.core.recipes import find_recipe
from pada_agent.core.records import Record
from pada_agent.core.wording import agree, count
from pada_agent.graph.adapters import Adapters
from pada_agent.graph.error_sources import ErrorSources, find_sources
from pada_agent.graph.models import TrainedModel
from pada_agent.graph.state import BranchState, Given, IterationPlan
from pada_agent.graph.storing import put_rows


class Division(Record):
    """The finished plan of an iteration."""

    plan: IterationPlan
    warnings: tuple[str, ...] = ()
    """Which rows the training-error branch writes from, if they are not only wrong answers, which rows moved to the other branch, and whether there
    are no contrasts to show."""


def divide_rows(state: BranchState, adapters: Adapters) -> Division:
    """The plan with the rows to write from, and how many rows each branch writes. Both branches get the same one.

    Waits until the student has answered the training rows, if they are asked for.
    """
    plan = state["plan"]
    made_from = (state["data"].train.key, state["models"][plan.diagnosed_model].adapter, plan.model_dump_json())
    return adapters.memory.get(("division", state["iteration"], *made_from), lambda: _divide(state, adapters))


def wish_shares(state: Given, diagnosed: TrainedModel) -> BranchShares:
    """How many rows each branch writes if there are enough training errors."""
    return _share(state, diagnosed, capacity=None)


def count_capacity(found: ErrorSources, generation: GenerationConfig) -> int | None:
    """Maximum number of rows that the training-error branch can write. None means no limit."""
    each = generation.max_rows_per_source
    if not generation.reads_training_errors:
        return None
    return 0 if not found.rows else each and each * len(found.rows)


def _divide(state: BranchState, adapters: Adapters) -> Division:
    generation, store, plan = state["settings"].generation, adapters.store, state["plan"]
    if not generation.reads_training_errors:
        return Division(plan=plan)
    found = find_sources(plan.n_training_error_rows, state, adapters)
    capacity = count_capacity(found, generation)
    shares = _share(state, state["models"][plan.diagnosed_model], capacity=capacity)
    shows_right = find_recipe(generation.template).shows_right_rows
    finished = plan.model_copy(
        update={
            "n_pattern_rows": shares.n_pattern,
            "n_training_error_rows": shares.n_training_error,
            "error_capacity": capacity,
            "training_failures": put_rows(store, "training-failures", found.rows),
            "training_successes": put_rows(store, "training-successes", found.right) if shows_right else None,
        }
    )
    no_contrasts = _tell_no_contrasts(found, generation.template) if shows_right else ""
    warnings = [found.note, _tell_moved(len(found.rows), plan, finished), no_contrasts]
    return Division(plan=finished, warnings=tuple(f"iteration {state['iteration']}: {w}" for w in warnings if w))


def _share(state: Given, diagnosed: TrainedModel, *, capacity: int | None) -> BranchShares:
    generation, failures = state["settings"].generation, diagnosed.validation_failures
    return split_rows(
        generation.count_rows(state["data"].train.rows),
        pattern_share=generation.pattern_share,
        has_patterns=failures is not None and failures.rows > 0,
        error_capacity=capacity,
    )


def _tell_no_contrasts(found: ErrorSources, template: str) -> str:
    """That no source has a correctly answered row to be shown next to it, in words. Empty if one has."""
    if not found.rows or any(right.id != row.example.id for row in found.rows for right in found.right):
        return ""
    return f"the student answers no other training row correctly, so {template} shows none next to the errors"


def _tell_moved(n_sources: int, wished: IterationPlan, plan: IterationPlan) -> str:
    """What happens to the rows that the training errors cannot supply, in words. Empty if they can supply their share."""
    n_wished = wished.n_training_error_rows
    if plan.n_training_error_rows >= n_wished:
        return ""
    n_lost = wished.n_pattern_rows + n_wished - plan.n_pattern_rows - plan.n_training_error_rows
    consequence = f"{n_lost} rows are not written" if n_lost else "the patterns write the rest"
    sources = f"{count(n_sources, 'training row')} {agree(n_sources, 'is a source', 'are sources')}"
    return f"{sources} for {plan.n_training_error_rows} of {n_wished} rows: {consequence}"
