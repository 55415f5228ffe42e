"""What settings may not ask of a server."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import pytest
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from pada_agent.app.adapters.storage.datasets import FileDatasets
from pada_agent.app.server_policy import ServerPolicy, confine, read_policy
from pada_agent.core import plugins
from pada_agent.core.config import RunConfig
from pada_agent.core.config_files import apply_override
from pada_agent.core.errors import ConfigError, DatasetError

DATA = {"train": "train.jsonl", "validation": "validation.jsonl"}

HARMLESS = (
    "budget.*",  # larger ones only lift a limit that the operator's own keys have
    "models.*.usd_per_million_*",
    "models.*.requests_per_minute",
    "models.*.tokens_per_minute",
    "data.*_limit",  # of rows that are bounded by the policy
    "review.cost_above_hours",
    "loop.patience",
    "lora.learning_rate",
    "lora.weight_decay",
    "lora.max_grad_norm",
    "*.temperature",
    "quality.max_label_rank",
)
"""Settings whose size costs the server nothing."""


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A workspace beside a folder that must not be reached, and links from one into the other."""
    inside, outside = tmp_path / "workspace", tmp_path / "outside"
    for folder in (inside / "student", outside / "student"):
        folder.mkdir(parents=True)
    for name in ("train.jsonl", "validation.jsonl"):
        (inside / name).write_text('{"q": 1}\n')
    (outside / "secret.jsonl").write_text('{"q": "secret"}\n')
    (inside / "link.jsonl").symlink_to(outside / "secret.jsonl")
    (inside / "link").symlink_to(outside)
    return inside


def make(*overrides: str) -> RunConfig:
    values: dict[str, Any] = {"data": DATA}
    for override in overrides:
        values = apply_override(values, override)
    return RunConfig.model_validate(values)


def judge(model: str, **fields: Any) -> str:
    return f"models.judge={json.dumps({'model': model, **fields})}"


def refusal(config: RunConfig, policy: ServerPolicy) -> str:
    with pytest.raises(ConfigError) as caught:
        confine(config, policy)
    return str(caught.value)


def test_ordinary_settings_pass_with_their_run_placed_in_the_workspace(workspace: Path) -> None:
    confined = confine(make("student.model=student"), ServerPolicy(workspace))
    assert confined.runs_folder == str(workspace / "runs")
    assert confined.student.model == str(workspace / "student")
    assert confined.models == make().models


@pytest.mark.parametrize(
    ("named", "refused"),
    [
        ("shop.sqlite", False),
        ("", True),
        (".", True),
        ("nowhere.sqlite", True),
        ("{out}/secret.jsonl", True),
        ("link.jsonl", True),
        ("../outside/secret.jsonl", True),
        ("runs/others/llm_calls.sqlite", True),
        ("runs/others/checkpoints.sqlite", True),
    ],
)
def test_queries_read_one_database_of_the_workspace(workspace: Path, named: str, refused: bool) -> None:
    (workspace / "runs" / "others").mkdir(parents=True)
    for name in ("shop.sqlite", "runs/others/llm_calls.sqlite", "runs/others/checkpoints.sqlite"):
        (workspace / name).write_bytes(b"SQLite format 3\0")
    named = named.format(out=workspace.parent / "outside")
    config = make("task.name=sql", f"task.database={json.dumps(named)}")
    if refused:
        assert "task.database: name one SQLite file" in refusal(config, ServerPolicy(workspace))
    else:
        assert confine(config, ServerPolicy(workspace)).task.database == str(workspace / "shop.sqlite")


@pytest.mark.parametrize(
    "key", ["data.train", "data.validation", "data.test", "data.held_back", "runs_folder", "student.model"]
)
@pytest.mark.parametrize(
    "path",
    [
        "{out}/secret.jsonl",
        "../outside/secret.jsonl",
        "link.jsonl",
        "link/secret.jsonl",
        "link/../../outside",
        "/",
    ],
)
def test_no_path_leads_out_of_the_workspace(workspace: Path, key: str, path: str) -> None:
    value = path.format(out=workspace.parent / "outside")
    assert f"{key}: " in refusal(make(f"{key}={value}"), ServerPolicy(workspace))


def test_a_run_folder_that_is_a_link_out_of_the_workspace_is_refused(workspace: Path) -> None:
    (workspace / "runs").mkdir()
    (workspace / "runs" / "run").symlink_to(workspace.parent / "outside")
    assert "name: outside this server's workspace" in refusal(make(), ServerPolicy(workspace))


def test_runs_share_no_folder(workspace: Path) -> None:
    assert "shared_folder: " in refusal(make("shared_folder=shared"), ServerPolicy(workspace))
    for name in ("../x", "/x", "a/b"):
        with pytest.raises(ValidationError, match="shared_folder"):
            make(f"shared_folder={name}")


@pytest.mark.parametrize("path", ["a\0b", "x" * 5000, "../" * 100])
def test_odd_paths_are_refused_not_crashed_on(workspace: Path, path: str) -> None:
    config = make().model_copy(update={"data": make().data.model_copy(update={"train": path})})
    if path.startswith("x"):
        with pytest.raises((DatasetError, OSError)):
            FileDatasets(workspace=workspace).read(confine(config, ServerPolicy(workspace)).data.train)
    else:
        assert "data.train: " in refusal(config, ServerPolicy(workspace))


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000/v1", "http://169.254.169.254/latest", "https://api.openai.com"])
def test_no_host_is_called_that_the_operator_has_not_listed(workspace: Path, url: str) -> None:
    config = make(judge("openai:x", base_url=url))
    assert "models.judge.base_url: " in refusal(config, ServerPolicy(workspace))


@pytest.mark.parametrize(
    ("url", "passes"),
    [
        ("http://llm.internal:8000/v1", True),
        ("http://LLM.internal:8000/v1", True),
        ("https://api.example.org/v1", True),
        ("https://api.example.org:443/v1", False),
        ("http://llm.internal/v1", False),
        ("http://llm.internal:8001/v1", False),
        ("http://llm.internal.evil.org:8000/v1", False),
        ("ftp://llm.internal:8000/v1", False),
        ("file:///etc/passwd", False),
        ("http://llm.internal:99999/v1", False),
        ("//llm.internal:8000", False),
    ],
)
def test_listed_hosts_are_compared_whole(workspace: Path, url: str, passes: bool) -> None:
    policy = ServerPolicy(workspace, hosts=frozenset({"llm.internal:8000", "api.example.org"}))
    try:
        config = make(judge("openai:x", base_url=url))
    except ValidationError:
        assert not passes
        return
    if passes:
        confine(config, policy)
    else:
        assert "models.judge.base_url: " in refusal(config, policy)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("extra", {"model": "dearest", "n": 100}),
        ("headers", {"X-Target-Url": "http://169.254.169.254"}),
        ("header_envs", {"X-Token": "AWS_SECRET_ACCESS_KEY"}),
        ("service_tier", "priority"),
    ],
)
def test_no_setting_leads_past_the_list_of_models_hosts_and_keys(workspace: Path, name: str, value: Any) -> None:
    try:
        config = make(judge("openai:x", **{name: value}))
    except ValidationError:
        return  # the settings themselves know better
    assert f"models.judge.{name}: " in refusal(config, ServerPolicy(workspace))


def test_a_key_goes_to_a_listed_host_only_if_it_is_listed_too(workspace: Path) -> None:
    policy = ServerPolicy(workspace, hosts=frozenset({"llm.internal"}))
    azure = make(judge("azure_openai:x", base_url="https://llm.internal", api_version="2024-10-21"))
    assert "AZURE_OPENAI_API_KEY is not offered" in refusal(azure, policy)
    confine(azure, replace(policy, key_variables=frozenset({"AZURE_OPENAI_API_KEY"})))
    partner = make(judge("anthropic:x", base_url="https://llm.internal"))
    assert "models.judge.base_url: only accepted with openai:NAME" in refusal(partner, policy)


def test_a_variable_that_holds_no_key_is_not_sent_as_one(workspace: Path) -> None:
    config = make(judge("openai:x", api_key_env="AWS_SECRET_ACCESS_KEY"))
    assert "models.judge.api_key_env: " in refusal(config, ServerPolicy(workspace))
    confine(config, ServerPolicy(workspace, key_variables=frozenset({"AWS_SECRET_ACCESS_KEY"})))


@pytest.mark.parametrize(
    ("override", "key"),
    [
        (judge("openai:gpt-5"), "models.judge.model"),
        ("models.embedder=other/embedder", "models.embedder"),
        ("student.model=smollm2-135m-instruct", "student.model"),
    ],
)
def test_with_an_allow_list_every_model_must_be_on_it(workspace: Path, override: str, key: str) -> None:
    listed = ("bedrock_converse:*", "all-mpnet-base-v2", "student")
    policy = ServerPolicy(workspace, models=listed)
    confine(make("student.model=student"), policy)
    assert f"{key}: " in refusal(make("student.model=student", override), policy)


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("student.model=owner/name", "student.model"),
        ("models.embedder=owner/name", "models.embedder"),
        ("data.train=hub:owner/name/train", "data.train"),
    ],
)
def test_nothing_is_downloaded_that_the_operator_has_not_listed(workspace: Path, override: str, key: str) -> None:
    assert f"{key}: " in refusal(make(override), ServerPolicy(workspace))
    confine(make(override), ServerPolicy(workspace, hub=("owner/*",)))


def test_what_is_no_hub_id_is_no_hub_id_however_much_is_allowed(workspace: Path) -> None:
    assert "data.train: " in refusal(make("data.train=hub:../private/train"), ServerPolicy(workspace, hub=("*",)))


def test_a_listed_embedder_is_loaded_from_the_workspace(workspace: Path) -> None:
    (workspace / "embedder").mkdir()
    settled = confine(make("models.embedder=embedder"), ServerPolicy(workspace, models=("*", "embedder")))
    assert settled.models.embedder == str(workspace / "embedder")


def test_a_local_engine_loads_models_of_the_catalogue_only(workspace: Path) -> None:
    assert "models.judge.model: " in refusal(make(judge("local:/etc/passwd")), ServerPolicy(workspace))
    confine(make(judge("local:qwen2.5-coder-1.5b-instruct")), ServerPolicy(workspace))


def test_an_embedder_folder_is_refused_for_it_may_bring_code(workspace: Path) -> None:
    assert "models.embedder: a folder" in refusal(make("models.embedder=student"), ServerPolicy(workspace))


@pytest.mark.parametrize("task", ["code", "humaneval"])
def test_programs_run_only_where_the_operator_allows_it(workspace: Path, task: str) -> None:
    assert "task.name: " in refusal(make(f"task.name={task}"), ServerPolicy(workspace))
    confine(make(f"task.name={task}"), ServerPolicy(workspace, allow_code=True))


def test_programs_run_isolated_or_not_at_all(workspace: Path) -> None:
    config = make("task.name=code", "task.allow_unisolated_code=true")
    assert "task.allow_unisolated_code: " in refusal(config, ServerPolicy(workspace, allow_code=True))


def test_installed_guards_are_named_and_not_set(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        plugins, "entry_points", lambda group: [SimpleNamespace(name="no_urls")] * (group == plugins.GUARDS.group)
    )
    confine(make("guard.plugins={no_urls: {}}"), ServerPolicy(workspace))
    assert "guard.plugins.no_urls: " in refusal(make("guard.plugins={no_urls: {max: 2}}"), ServerPolicy(workspace))


@pytest.mark.parametrize("task", ["os:system", "tests.toy_world.ToyWorld", "../task", "evaluation.tasks.code:Code"])
def test_a_task_is_a_name_and_never_an_import(workspace: Path, task: str) -> None:
    assert "there is no task" in refusal(make(f"task.name='{task}'"), ServerPolicy(workspace))


@pytest.mark.parametrize(
    "override", ["prompts={error_analysis: '{{ hello }}'}", "student={chat_template: '{{ messages[0].content }}'}"]
)
def test_templates_are_taken_only_where_the_operator_allows_them(workspace: Path, override: str) -> None:
    config = make(override)
    confine(config, ServerPolicy(workspace, allow_prompts=True))
    assert "PADA_ALLOW_PROMPTS=1" in refusal(config, ServerPolicy(workspace))


def _numbers(kind: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    for name, field in kind.model_fields.items():
        kinds = get_args(field.annotation) or (field.annotation,)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _numbers(field.annotation, f"{prefix}{name}.")
        elif {int, float} & set(kinds):
            yield f"{prefix}{name}", field


def test_every_number_in_settings_has_a_limit_or_costs_nothing(workspace: Path) -> None:
    """A number without one lets a stranger fill the memory with a single request."""
    policy = ServerPolicy(workspace)
    unlimited = [
        key
        for key, field in _numbers(RunConfig)
        if not any(fnmatchcase(key, pattern) for pattern in policy.limits)
        and not any(hasattr(bound, "le") or hasattr(bound, "lt") for bound in field.metadata)
        and not any(fnmatchcase(key, pattern) for pattern in HARMLESS)
    ]
    assert unlimited == []


@pytest.mark.parametrize(
    "override",
    [
        "lora.epochs=51",
        "lora.rank=100000",
        "loop.max_iterations=1000000",
        "generation.share=.inf",
        "generation.share=.nan",
        judge("openai:x", max_concurrency=1000),
        f"task.description={'x' * 20_001}",
        f"task.labels={json.dumps({str(n): 'x' * 1000 for n in range(300)})}",
    ],
)
def test_sizes_and_counts_have_limits(workspace: Path, override: str) -> None:
    try:
        config = make(override)
    except ValidationError:
        return  # the settings themselves know better
    assert "this server" in refusal(config, ServerPolicy(workspace))


def test_all_that_is_wrong_is_said_at_once(workspace: Path) -> None:
    config = make("data.train=/etc/passwd", "task.name=code", "lora.epochs=51")
    assert len(refusal(config, ServerPolicy(workspace)).splitlines()) == 3


def test_what_is_no_settings_is_refused(workspace: Path) -> None:
    values: Any = {"data": {"train": "/etc/passwd"}}
    with pytest.raises(ConfigError, match="as `context`"):
        confine(values, ServerPolicy(workspace))


def test_files_are_seen_from_the_workspace_and_limited_in_rows_and_bytes(workspace: Path) -> None:
    open_to: Callable[..., FileDatasets] = lambda **limits: FileDatasets(workspace=workspace, **limits)  # noqa: E731
    (workspace / "many.jsonl").write_text('{"q": 1}\n' * 5)
    assert len(open_to(max_rows=5, max_file_bytes=1000).read("many.jsonl")) == 5
    assert len(open_to(max_rows=4).read("many.jsonl", limit=4)) == 4
    with pytest.raises(DatasetError, match="more than 4 rows"):
        open_to(max_rows=4).read("many.jsonl")
    with pytest.raises(DatasetError, match="more than 4 rows"):
        open_to(max_rows=4).read("many.jsonl", limit=5)
    with pytest.raises(DatasetError, match="larger than 10 bytes"):
        open_to(max_file_bytes=10).read("many.jsonl")


def test_the_operator_says_what_is_allowed_in_the_environment(workspace: Path) -> None:
    environment = {
        "PADA_WORKSPACE": str(workspace),
        "PADA_ALLOWED_HOSTS": "LLM.internal:8000, api.example.org",
        "PADA_ALLOWED_MODELS": "local:*",
        "PADA_ALLOWED_HUB": "owner/*",
        "PADA_ALLOWED_KEYS": "MY_KEY",
        "PADA_ALLOW_CODE": "1",
        "PADA_ALLOW_PROMPTS": "1",
    }
    assert read_policy(environment, Path("/")) == ServerPolicy(
        workspace,
        hosts=frozenset({"llm.internal:8000", "api.example.org"}),
        models=("local:*",),
        hub=("owner/*",),
        key_variables=frozenset({"MY_KEY"}),
        allow_code=True,
        allow_prompts=True,
    )
    assert read_policy({}, workspace) == ServerPolicy(workspace)
    with pytest.raises(ConfigError, match="PADA_WORKSPACE"):
        read_policy({"PADA_WORKSPACE": str(workspace / "none")}, workspace)


def test_limits_are_a_policy_s_own(workspace: Path) -> None:
    policy = replace(ServerPolicy(workspace), limits={"loop.max_iterations": 1})
    assert "loop.max_iterations: 3 is more than" in refusal(make(), policy)


@pytest.mark.parametrize("address", ["169.254.169.254:80", "null", "gpu-head:6379"])
def test_the_cluster_is_the_operator_s(workspace: Path, address: str) -> None:
    """A client that names one could have the server send rows there and run what comes back."""
    policy = read_policy({"PADA_ALLOWED_BACKENDS": "local,ray"}, workspace)
    told = refusal(make("compute.backend=ray", f"compute.cluster.address={address}"), policy)
    assert "compute.cluster.address" in told and "RAY_ADDRESS" in told
    assert confine(make("compute.backend=ray"), policy).compute.cluster.address == "auto"
    assert confine(make(f"compute.cluster.address={address}"), policy).compute.backend == "local"


def test_object_stores_are_those_that_the_operator_lists(workspace: Path) -> None:
    config = make("compute.cluster.store=s3://bucket/pada")
    words = "compute.cluster.store: 's3://bucket/pada' is not offered; the operator lists stores in PADA_ALLOWED_STORES"
    assert words in refusal(config, read_policy({"PADA_ALLOWED_STORES": "s3://bucket"}, workspace))
    policy = read_policy({"PADA_ALLOWED_STORES": "s3://other,s3://bucket/pada"}, workspace)
    assert confine(config, policy).compute.cluster.store == "s3://bucket/pada"
