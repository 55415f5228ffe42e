"""Checks what settings need besides rows: models on this machine, packages, keys, addresses. Reports everything at once, before a run."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple, get_args
from urllib.parse import urlsplit

from pada_agent.app.adapters.compute.backends import find_backend
from pada_agent.app.adapters.compute.object_store import try_store
from pada_agent.app.adapters.embedder import OWN
from pada_agent.app.adapters.llm.providers import find_opening
from pada_agent.app.adapters.storage import model_store
from pada_agent.app.run_folder.key_addresses import LOOPBACK
from pada_agent.core.chat import Role
from pada_agent.core.config import RunConfig
from pada_agent.core.errors import ConfigError, PadaError
from pada_agent.core.jobs import NEEDS_QLORA
from pada_agent.core.model_config import ModelConfig
from pada_agent.core.model_files import check_embedder, check_model
from pada_agent.core.recipes import find_recipe
from pada_agent.core.records import Usage
from pada_agent.core.vllm_limits import check_installed
from pada_agent.evaluation.rows.findings import Finding, blame
from pada_agent.evaluation.tasks.registry import find_task_kind
from pada_agent.prompts.rendering import check_overrides, check_recipe

PRICES = ("usd_per_million_input_tokens", "usd_per_million_output_tokens")


class _Need(NamedTuple):
    key: str
    find: Callable[[], object]


def find_missing(config: RunConfig, *groups: str) -> list[Finding]:
    """Everything that is missing or cannot be used. What a run with these settings does not use may be missing. Nothing is
    loaded or started, and only an object store is contacted.

    Args:
        groups: groups of settings, such as `student`, to look at. None looks at all.
    """
    problems: dict[str, list[str]] = {}
    first: dict[str, PadaError] = {}
    for need in _list_needs(config):
        if groups and need.key.partition(".")[0] not in groups:
            continue
        try:
            need.find()
        except PadaError as exc:
            problems.setdefault(str(exc), []).append(need.key)
            first.setdefault(str(exc), exc)
    return [_tell(first[text], keys) for text, keys in problems.items()]


def list_roles(config: RunConfig) -> list[Role]:
    """The LLM roles that a run with these settings uses."""
    verification, writes = config.verification, _writes_rows(config)
    checks = config.quality.enabled or bool(verification.votes and verification.share)
    roles: list[tuple[Role, bool]] = [
        ("analyst", writes and config.generation.pattern_share > 0),
        ("generator", writes),
        ("judge", (writes and checks) or _asks_judge(config)),
    ]
    return [role for role, is_asked in roles if is_asked]


def get_model(config: RunConfig, role: Role) -> ModelConfig:
    """The model settings of a role."""
    model: ModelConfig = getattr(config.models, role)
    return model


def list_missing_prices(model: ModelConfig) -> list[str]:
    """The price settings that are 0 although the model may cost money. A model on this machine needs none."""
    is_here = model.provider in ("local", "own", "ollama") or bool(
        model.base_url and urlsplit(model.base_url).hostname in LOOPBACK
    )
    return [] if is_here else [name for name in PRICES if not getattr(model, name)]


def describe_unpriced(asked: Iterable[tuple[str, ModelConfig]]) -> str:
    """The roles whose models may cost money and lack a price, each with the settings to add. Empty if there are none."""
    missing = ((role, list_missing_prices(model)) for role, model in asked)
    return ", ".join(dict.fromkeys(f"models.{role} ({', '.join(names)})" for role, names in missing if names))


def list_unpriced(config: RunConfig, usage: Mapping[str, Usage]) -> tuple[str, ...]:
    """The roles that were asked and whose models may cost money and lack a price.

    Args:
        usage: LLM usage by role.
    """
    asked = (role for role in get_args(Role) if role in usage and usage[role].n_calls)
    return tuple(role for role in asked if list_missing_prices(get_model(config, role)))


def warn_about_prices(config: RunConfig) -> tuple[str, ...]:
    """A warning if the limit in dollars leaves out models that may cost money."""
    unpriced = describe_unpriced((role, get_model(config, role)) for role in list_roles(config))
    if config.budget.max_usd is None or not unpriced:
        return ()
    return (f"budget.max_usd counts tokens without a price as free: set prices for {unpriced}, unless they are free",)


def _writes_rows(config: RunConfig) -> bool:
    return config.loop.max_iterations > 0 and config.generation.written_share > 0


def _asks_judge(config: RunConfig) -> bool:
    try:
        return find_task_kind(config.task.name).asks_judge
    except ConfigError:  # told as a problem of task.name
        return False


def _list_needs(config: RunConfig) -> Iterator[_Need]:
    yield _Need("task.name", partial(find_task_kind, config.task.name))
    yield _Need("compute.backend", partial(find_backend, config.compute.backend))
    if config.compute.backend == "ray" and config.compute.cluster.store:
        yield _Need("compute.cluster.store", partial(try_store, config.compute.cluster.store))
    yield _Need("prompts", partial(check_overrides, config.prompts.overrides()))
    if _writes_rows(config):
        yield _Need("generation.template", lambda: check_recipe(find_recipe(config.generation.template)))
    yield _Need("student.model", partial(_find_model, config.student.model, check_model))
    yield _Need("student.load_in", partial(_find_quantization, config))
    if config.student.engine == "vllm" and config.compute.backend == "local":  # elsewhere, the first job finds out
        yield _Need("student.engine", partial(check_installed, config.compute.device))
    if _writes_rows(config):
        yield _Need("models.embedder", partial(_find_embedder, config.models.embedder))
    for role in list_roles(config):
        yield _Need(f"models.{role}", partial(_open, config, role))
    yield _Need("budget.max_usd", partial(_find_price, config))


def _find_model(name: str, check: Callable[[Path], None]) -> None:
    """Whether the model is here and complete. Does not ask whether a hub has it."""
    check(model_store.resolve(name))


def _find_embedder(name: str) -> None:
    """One that the application brings is not looked for."""
    if not name.startswith(OWN):
        _find_model(name, check_embedder)


def _find_quantization(config: RunConfig) -> None:
    """Elsewhere than on this machine, the first job finds out."""
    if config.student.load_in and config.compute.backend == "local" and find_spec("bitsandbytes") is None:
        raise ConfigError(NEEDS_QLORA)


def _find_price(config: RunConfig) -> None:
    """A limit in dollars needs a price."""
    asked = [get_model(config, role) for role in list_roles(config)]
    is_priced = any(getattr(model, name) for model in asked for name in PRICES)
    if config.budget.max_usd is not None and asked and not is_priced:
        raise ConfigError(
            f"budget.max_usd would never be reached, because no model that is asked has a price. Set {' and '.join(PRICES)}"
            " under models, or limit budget.max_tokens or budget.max_calls instead."
        )


def _open(config: RunConfig, role: Role) -> object:
    return find_opening(get_model(config, role), role)


def _tell(problem: PadaError, keys: list[str]) -> Finding:
    found = blame(problem)
    if any(key in found.text for key in keys):
        return found
    return found.model_copy(update={"text": f"{', '.join(keys)}: {found.text}"})
