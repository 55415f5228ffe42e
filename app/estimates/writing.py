"""How many calls write an iteration's rows. A call is for one label and one strategy, or for one source row, so it is rarely full."""

import math

from pada_agent.core.config import RunConfig
from pada_agent.core.recipes import find_recipe
from pada_agent.core.records import Record
from pada_agent.evaluation.tasks.registry import find_task_kind

BYTES_RATIO = 4 / 3
"""Tokens that a run reserves for a row in a reply, per token of it in an estimate: it counts 3 bytes for one, not 4."""


class Writing(Record):
    """The calls of the generator in an iteration, if no row is written again."""

    n_calls: int
    n_rows: int
    """Rows that are written, with spare ones."""


def count_writer_calls(
    config: RunConfig, n_rows: int, *, n_train: int, n_errors: int, row_tokens: int, most: bool
) -> Writing:
    """Calls and rows of the generator.

    Args:
        n_rows: rows to add, without spare ones. Real rows among them are not written.
        n_train: training rows, which new rows are based on.
        n_errors: errors that are analyzed.
        row_tokens: length of a row.
        most: whether the rows are spread over as many patterns and labels as there may be. Otherwise, over as few as possible.
    """
    generation, models = config.generation, config.models
    n_pattern = round(n_rows * generation.pattern_share) if n_errors else 0
    n_from_rows = 0 if generation.sources == "held_back" else n_rows - n_pattern
    if not (n_rows := n_pattern + n_from_rows):
        return Writing(n_calls=0, n_rows=0)
    room = int(models.generator.max_output_tokens / (max(row_tokens, 1) * BYTES_RATIO))
    size = max(1, min(generation.rows_per_call, room))
    n_calls = _count_pattern_calls(config, n_pattern, n_errors, size, most=most)
    n_calls += _count_error_calls(config, n_from_rows, n_train, size, most=most)
    n_spare = min(math.ceil(n_rows * generation.spare_rows), n_calls * size - n_rows)
    return Writing(n_calls=n_calls, n_rows=n_rows + n_spare)


def find_solved_share(config: RunConfig) -> float:
    """Fraction of the rows whose answers are found by vote (`generation.solved_share`)."""
    return config.generation.solved_share if find_task_kind(config.task.name).compares_answers else 0


def count_solver_calls(config: RunConfig, n_rows: int, *, most: bool) -> int:
    """Calls in which the writer answers its own questions: all votes, or as many as decide if all of them agree."""
    votes = config.generation.solver_votes
    return math.ceil(n_rows * find_solved_share(config)) * (votes if most else votes // 2 + 1)


def _count_pattern_calls(config: RunConfig, n_rows: int, n_errors: int, size: int, *, most: bool) -> int:
    """Strategies that share labels divide these, so that at most one call per strategy and label is not full."""
    analysis, n_labels = config.analysis, max(1, len(config.task.labels))
    n_few, n_many = min(analysis.min_clusters, n_errors), min(analysis.max_clusters, n_errors)
    is_divided = size > 1 and config.generation.strategy_text != "whole"
    n_groups = n_many + n_labels - 1 if is_divided else n_many * n_labels
    return _count_between(n_rows, n_few, n_groups, size, most=most)


def _count_error_calls(config: RunConfig, n_rows: int, n_train: int, size: int, *, most: bool) -> int:
    generation = config.generation
    if not find_recipe(generation.template).has_one_source:
        return _count_between(n_rows, 1, max(1, len(config.task.labels)), size, most=most)
    if generation.sources == "training_rows":  # each of them is drawn before any is drawn again
        return spread(n_rows, n_train, size)
    n_each = min(size, generation.max_rows_per_source or size)
    return n_rows if most else math.ceil(n_rows / n_each)


def _count_between(n_rows: int, n_fewest: int, n_most: int, size: int, *, most: bool) -> int:
    fewest = max(math.ceil(n_rows / size), min(n_rows, n_fewest))
    return max(fewest, spread(n_rows, n_most, size)) if most else fewest


def spread(n_rows: int, n_groups: int, size: int) -> int:
    """Number of calls of at most `size` rows, where the rows are divided evenly among groups that have calls of their own."""
    if not n_rows:
        return 0
    n_groups = max(1, min(n_rows, n_groups))
    n_each, n_larger = divmod(n_rows, n_groups)
    return n_larger * math.ceil((n_each + 1) / size) + (n_groups - n_larger) * math.ceil(n_each / size)
