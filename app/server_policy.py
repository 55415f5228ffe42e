"""What settings may ask of a server, where their sender is not trusted. Does not apply to the command line, which its user owns."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from types import MappingProxyType
from urllib.parse import unquote, urlsplit

from pada_agent.app.adapters.llm.providers import find_key_variables
from pada_agent.app.adapters.storage.datasets import find_inside
from pada_agent.app.adapters.storage.model_store import catalogue
from pada_agent.app.run_folder.layout import CALLS, CHECKPOINTS
from pada_agent.core.chat import Role
from pada_agent.core.config import ModelConfig, RunConfig
from pada_agent.core.config_files import flatten
from pada_agent.core.errors import ConfigError
from pada_agent.core.suggestions import suggest
from pada_agent.evaluation.tasks.registry import find_task_kind

LIMITS: Mapping[str, float] = MappingProxyType(
    {
        "task.sample_values": 50,
        "task.query_seconds": 60,
        "lora.rank": 512,
        "lora.alpha": 4096,
        "lora.epochs": 50,
        "lora.n_steps": 100_000,
        "lora.batch_size": 1024,
        "lora.micro_batch_tokens": 65_536,
        "lora.max_length": 8192,
        "student.max_new_tokens": 4096,
        "student.eval_batch_size": 512,
        "models.*.max_output_tokens": 16_384,
        "models.*.context_tokens": 32_768,
        "models.*.max_concurrency": 64,
        "models.*.timeout_seconds": 3600,
        "analysis.max_errors": 1000,
        "analysis.errors_per_call": 100,
        "analysis.min_clusters": 50,
        "analysis.max_clusters": 50,
        "generation.share": 10,
        "generation.rows_per_call": 100,
        "generation.spare_rows": 10,
        "generation.n_contrasts": 50,
        "generation.n_demonstrations": 50,
        "generation.n_shown_labels": 50,
        "generation.max_rows_per_error": 1000,
        "generation.max_top_ups": 50,
        "generation.max_asked_per_row": 50,
        "quality.max_regenerations": 10,
        "quality.rows_per_call": 100,
        "verification.votes": 20,
        "verification.rows_per_call": 100,
        "loop.max_iterations": 20,
        "compute.threads": 256,
        "compute.processes": 8,
        "compute.cluster.max_workers": 64,
        "compute.cluster.num_cpus": 64,
        "compute.cluster.num_gpus": 8,
        "compute.cluster.retries": 10,
        "compute.cluster.idle_minutes": 60,
        "compute.cluster.orphan_minutes": 240,
    }
)
"""Largest allowed value by settings key. Null, which means the default, is always allowed."""

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-\d{1,2}")
_ODD_NAME = re.compile(r"\.\.|[?#%\\]")
"""What would lead elsewhere where a provider's client puts the model's name into an address."""
_NAMED_IN_PATH = re.compile(r"/(?:deployments|engines|models)/([^/]+)", re.IGNORECASE)
"""A model in the path of an address. Azure and some gateways ask that one, whatever the request names."""
ROLES: tuple[Role, ...] = ("analyst", "generator", "judge")


@dataclass(frozen=True)
class ServerPolicy:
    """What this server's operator allows."""

    workspace: Path
    """Every path in settings is relative to this folder and must stay inside it, with links followed."""
    hosts: frozenset[str] = frozenset()
    """`host` or `host:port` that `base_url` may name. None by default, because the server may reach hosts that its clients may not."""
    models: tuple[str, ...] = ("*",)
    """Patterns that every model name in settings must match, such as `openai:gpt-4o*`."""
    hub: tuple[str, ...] = ()
    """Patterns for hub ids (students, embedders, data) that clients may have downloaded."""
    key_variables: frozenset[str] = frozenset({"OPENAI_API_KEY"})
    """Environment variables that `api_key_env` may name. The value of any other would be sent to a host as if it were a key."""
    allow_code: bool = False
    """Allow tasks that run programs written by a model or by the author of the rows."""
    allow_prompts: bool = False
    """Allow prompt and chat templates in settings. They are rendered in a process of their own with limits on time and memory,
    but many slow texts can still occupy a processor."""
    backends: frozenset[str] = frozenset({"local"})
    """Compute backends that settings may name."""
    stores: frozenset[str] = frozenset()
    """Object stores that `compute.cluster.store` may name, exactly. The server writes to them with its own keys."""
    max_rows: int = 100_000
    """Maximum number of rows per data file."""
    max_file_bytes: int = 256 * 2**20
    max_text_characters: int = 20_000
    """Maximum length of any one text in settings."""
    max_settings_bytes: int = 200_000
    limits: Mapping[str, float] = field(default_factory=lambda: LIMITS)


def read_policy(environment: Mapping[str, str], working_folder: Path) -> ServerPolicy:
    """The policy in the environment variables `PADA_WORKSPACE` and `PADA_ALLOWED_…`. Lists are separated by commas.

    Raises:
        ConfigError: the workspace is not a folder.
    """
    workspace = Path(environment.get("PADA_WORKSPACE") or working_folder).expanduser().resolve()
    if not workspace.is_dir():
        raise ConfigError(f"PADA_WORKSPACE: {workspace} is not a folder. Create it, or name another.")

    def listed(name: str, default: Iterable[str] = ()) -> tuple[str, ...]:
        names = (item.strip() for item in environment.get(name, "").split(","))
        return tuple(filter(None, names)) or tuple(default)

    return ServerPolicy(
        workspace=workspace,
        hosts=frozenset(host.lower() for host in listed("PADA_ALLOWED_HOSTS")),
        models=listed("PADA_ALLOWED_MODELS", ["*"]),
        hub=listed("PADA_ALLOWED_HUB"),
        key_variables=frozenset(listed("PADA_ALLOWED_KEYS", ["OPENAI_API_KEY"])),
        backends=frozenset(listed("PADA_ALLOWED_BACKENDS", ["local"])),
        stores=frozenset(listed("PADA_ALLOWED_STORES")),
        allow_code=environment.get("PADA_ALLOW_CODE") == "1",
        allow_prompts=environment.get("PADA_ALLOW_PROMPTS") == "1",
    )


def confine(config: RunConfig, policy: ServerPolicy) -> RunConfig:
    """The settings with every path absolute and inside the workspace. Reads the file system but changes nothing.

    Raises:
        ConfigError: everything that the policy forbids, one line each, with the key.
    """
    if not isinstance(config, RunConfig):
        raise ConfigError("settings: expected the run's settings as `context`, not as part of the input")
    problems = [
        *_check_sizes(config, policy),
        *_check_data(config, policy),
        *_check_database(config, policy),
        *_check_run_folder(config, policy),
        *_check_code(config, policy),
    ]
    for role in ROLES:
        problems += _check_model(f"models.{role}", getattr(config.models, role), policy)
    problems += _check_weights("student.model", config.student.model, policy)
    problems += _check_weights("models.embedder", config.models.embedder, policy)
    if problems:
        raise ConfigError("\n".join(problems))
    return _make_absolute(config, policy)


def _check_sizes(config: RunConfig, policy: ServerPolicy) -> Iterator[str]:
    n_bytes = len(config.model_dump_json().encode())
    if n_bytes > policy.max_settings_bytes:
        yield f"settings: {n_bytes} bytes; this server takes {policy.max_settings_bytes}"
    for key, value in flatten(config.model_dump()).items():
        if isinstance(value, str) and len(value) > policy.max_text_characters:
            yield f"{key}: {len(value)} characters; this server takes {policy.max_text_characters}"
        limit = next((most for pattern, most in policy.limits.items() if fnmatchcase(key, pattern)), None)
        if limit is not None and value is not None and not value <= limit:  # NaN is not within either
            yield f"{key}: {value} is more than this server's limit of {limit:g}"


def _check_data(config: RunConfig, policy: ServerPolicy) -> Iterator[str]:
    for split in ("train", "validation", "test", "held_back"):
        location = getattr(config.data, split)
        if location.startswith("hub:"):
            repository = "/".join(location.removeprefix("hub:").partition(":")[0].partition("@")[0].split("/")[:2])
            known = HUB_ID.fullmatch(repository) and not Path(repository).exists()
            if not known or not _matches(repository, policy.hub):
                yield f"data.{split}: {location} may not be downloaded here; the operator lists hub ids in PADA_ALLOWED_HUB"
        elif location and find_inside(location, policy.workspace) is None:
            yield f"data.{split}: outside this server's workspace"


def _check_database(config: RunConfig, policy: ServerPolicy) -> Iterator[str]:
    """The settings must name one file, because rows come from strangers, and a run's own files are SQLite databases too."""
    named = config.task.database
    if not named and not find_task_kind(config.task.name).reads_database:
        return
    inside = find_inside(named, policy.workspace) if named else None
    if inside is None or not inside.is_file() or inside.name in (CALLS, CHECKPOINTS):
        yield "task.database: name one SQLite file in this server's workspace; rows cannot name databases here"


def _check_run_folder(config: RunConfig, policy: ServerPolicy) -> Iterator[str]:
    if config.shared_folder:
        yield "shared_folder: runs on a server share nothing: each works in a folder of its own"
    folder = config.runs_folder
    for key, path in (("runs_folder", folder), ("name", f"{folder}/{config.name}")):
        if find_inside(path, policy.workspace) is None:
            yield f"{key}: outside this server's workspace"
            return


def _check_code(config: RunConfig, policy: ServerPolicy) -> Iterator[str]:
    if not policy.allow_code and find_task_kind(config.task.name).runs_code:
        yield f"task.name: {config.task.name} runs programs; the operator allows that with PADA_ALLOW_CODE=1"
    if config.task.allow_unisolated_code:
        yield "task.allow_unisolated_code: on a server, programs run isolated or not at all"
    if config.compute.backend not in policy.backends:
        yield f"compute.backend: {config.compute.backend!r} is not offered; the operator lists names in PADA_ALLOWED_BACKENDS"
    if (store := config.compute.cluster.store) and store not in policy.stores:
        yield f"compute.cluster.store: {store!r} is not offered; the operator lists stores in PADA_ALLOWED_STORES"
    if config.compute.backend != "local" and (address := config.compute.cluster.address) != "auto":
        yield f"compute.cluster.address: {address or 'null'} is not accepted here, only auto; the operator names the cluster in RAY_ADDRESS"
    for name, options in config.guard.plugins.items():
        if options:
            yield f"guard.plugins.{name}: settings of installed guards are not accepted here, only its name"
    if config.prompts.overrides() and not policy.allow_prompts:
        yield "prompts: templates are not accepted here; the operator can allow them with PADA_ALLOW_PROMPTS=1"
    if config.student.chat_template and not policy.allow_prompts:
        yield "student.chat_template: templates are not accepted here; the operator can allow them with PADA_ALLOW_PROMPTS=1"


def _check_model(key: str, model: ModelConfig, policy: ServerPolicy) -> Iterator[str]:
    if not _matches(model.model, policy.models):
        yield f"{key}.model: {model.model} is not among this server's models: {', '.join(policy.models)}"
    provider, _, name = model.model.partition(":")
    if _ODD_NAME.search(name):
        yield f"{key}.model: {model.model} is not accepted here; expected a name without '..', '?', '#', '%' and backslashes"
    if provider == "local" and name not in catalogue():
        yield f"{key}.model: local:{name} is not in the catalog; there are: {', '.join(catalogue())}.{suggest(name, catalogue())}"
    if model.base_url is not None and not _is_allowed_url(model.base_url, policy.hosts):
        yield f"{key}.base_url: its host is not allowed here; the operator lists host:port in PADA_ALLOWED_HOSTS"
    path = unquote(urlsplit(model.base_url or "").path)
    if ".." in path or set(_NAMED_IN_PATH.findall(path)) - {name}:
        yield f"{key}.base_url: its path names another model, or contains '..'; name the model in {key}.model alone"
    sent = find_key_variables(model) if model.api_key_env or (provider == "azure_openai" and model.base_url) else ()
    if unlisted := [variable for variable in sent if variable not in policy.key_variables]:
        yield f"{key}.api_key_env: {unlisted[0]} is not offered; the operator lists names in PADA_ALLOWED_KEYS"
    yield from _check_free_settings(key, model)
    if model.region is not None and not REGION.fullmatch(model.region):
        yield f"{key}.region: {model.region!r} is not an AWS region"


def _check_free_settings(key: str, model: ModelConfig) -> Iterator[str]:
    """Free-form settings that could name another model or address, or cause a higher price, than the operator allows."""
    for name in ("extra", "headers", "header_envs"):
        if getattr(model, name):
            yield f"{key}.{name}: not accepted here; the operator can set it on a proxy in front of the model"
    if model.service_tier not in (None, "default", "flex"):
        yield f"{key}.service_tier: {model.service_tier!r} is not accepted here; only flex is"
    if model.base_url is not None and model.provider not in ("openai", "azure_openai"):
        yield f"{key}.base_url: only accepted with openai:NAME and azure_openai:NAME"


def _check_weights(key: str, name: str, policy: ServerPolicy) -> Iterator[str]:
    """A student or embedder. An embedder's folder may contain code, so the operator must have listed its exact name."""
    if not _matches(name, policy.models):
        yield f"{key}: {name} is not among this server's models: {', '.join(policy.models)}"
    if name in catalogue():
        return
    inside = find_inside(name, policy.workspace)
    if inside is not None and inside.exists():
        if key == "models.embedder" and name not in policy.models:
            yield f"{key}: a folder is not accepted here unless the operator lists it; give one of {', '.join(catalogue())}"
    elif HUB_ID.fullmatch(name) and not Path(name).exists():
        if not _matches(name, policy.hub):
            yield f"{key}: {name} may not be downloaded here; the operator lists hub ids in PADA_ALLOWED_HUB"
    else:
        yield f"{key}: no such model in this server's workspace, nor in the catalog: {', '.join(catalogue())}.{suggest(name, catalogue())}"


def _is_allowed_url(url: str, hosts: frozenset[str]) -> bool:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    if parts.scheme not in ("http", "https") or parts.username is not None or not parts.hostname:
        return False
    default = 443 if parts.scheme == "https" else 80
    return f"{parts.hostname}:{port or default}" in hosts or (port is None and parts.hostname in hosts)


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _make_absolute(config: RunConfig, policy: ServerPolicy) -> RunConfig:
    def settle(name: str) -> str:
        inside = find_inside(name, policy.workspace)
        return str(inside) if name not in catalogue() and inside and inside.exists() else name

    student = config.student.model_copy(update={"model": settle(config.student.model)})
    runs_folder = str(find_inside(config.runs_folder, policy.workspace))
    models = config.models.model_copy(update={"embedder": settle(config.models.embedder)})
    task = config.task.model_copy(update={"database": settle(config.task.database) if config.task.database else ""})
    return config.model_copy(update={"runs_folder": runs_folder, "student": student, "models": models, "task": task})
