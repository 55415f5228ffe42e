"""How many LangGraph steps a run may take, compared with the limit it is started with."""

from pada_agent.core.config import RunConfig
from pada_agent.core.errors import ConfigError

DEFAULT_LIMIT = 10_000
"""LangGraph's limit if a run is started without one. It is 10,007 in version 1.2."""

_AROUND = 7
"""prepare, evaluate_untouched, review_cost, fine_tune, evaluate; then finish, and the end, which counts as a step."""
_ITERATION = 7
"""collect_errors, the two branches side by side, augment, review_data, review_cost, fine_tune, evaluate."""
_TOP_UP = 2
"""top_up, augment."""
_ATTEMPT = 4
"""data_generation, label_verification, answer_verification, quality_control. record_batch and the end come once per batch."""


def count_most_steps(settings: RunConfig) -> int:
    """Number of steps of the longest run that the settings allow, with every iteration and all its top-up rounds."""
    return max(_count_loop(settings, n_iterations=settings.loop.max_iterations), _count_batch(settings))


def check_step_limit(settings: RunConfig, limit: int) -> list[str]:
    """Warnings for a run that is started with `recursion_limit=limit`.

    Raises:
        ConfigError: the limit is too low even for the shortest run with these settings.
    """
    n_most = count_most_steps(settings)
    shortest = settings.model_copy(update={"generation": settings.generation.model_copy(update={"max_top_ups": 0})})
    if _count_loop(shortest, n_iterations=min(1, settings.loop.max_iterations)) > limit:
        raise ConfigError(
            f"recursion_limit is {limit}, and a run with these settings takes more steps. {_advise(n_most)}"
        )
    if n_most > limit:
        return [
            f"a run with these settings may take {n_most} steps, and stops at recursion_limit, {limit}. {_advise(n_most)}"
        ]
    return []


def _advise(n_most: int) -> str:
    return (
        f'Start the graph with config={{"recursion_limit": {n_most}}}, or lower loop.max_iterations, generation.max_top_ups'
        " or quality.max_regenerations"
    )


def _count_loop(settings: RunConfig, *, n_iterations: int) -> int:
    return _AROUND + n_iterations * (_ITERATION + _TOP_UP * settings.generation.max_top_ups)


def _count_batch(settings: RunConfig) -> int:
    return _ATTEMPT * settings.quality.max_attempts + 2
