"""A model that the operator does not allow cannot be reached through an address or an odd name."""

from pathlib import Path

import pytest

from pada_agent.app.server_policy import ServerPolicy, confine
from pada_agent.core.config import RunConfig
from pada_agent.core.errors import ConfigError

HOST = "https://llm.internal"


@pytest.fixture
def policy(tmp_path: Path) -> ServerPolicy:
    for name in ("train.jsonl", "validation.jsonl"):
        (tmp_path / name).write_text('{"q": 1}\n')
    return ServerPolicy(
        tmp_path,
        hosts=frozenset({"llm.internal"}),
        models=("azure_openai:cheap*", "openai:cheap*", "bedrock_converse:*", "Smol*", "smol*", "all-*"),
        key_variables=frozenset({"AZURE_OPENAI_API_KEY", "OPENAI_API_KEY"}),
    )


def make(model: str, path: str) -> RunConfig:
    role = {"model": model, "base_url": HOST + path}
    names = {"train": "train.jsonl", "validation": "validation.jsonl"}
    return RunConfig.model_validate({"data": names, "models": {"judge": role}})


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("azure_openai:cheap", "/openai/deployments/expensive"),
        ("azure_openai:cheap", "/openai/deployments/expensive/chat/completions?api-version=2024-10-21"),
        ("azure_openai:cheap", "/openai/deployments%2Fexpensive"),
        ("azure_openai:cheap", "/openai/deployments/cheap/../expensive"),
        ("openai:cheap", "/openai/deployments/expensive"),
        ("openai:cheap", "/engines/expensive"),
        ("openai:cheap", "/models/expensive/v1"),
        ("openai:cheap", "/v1/%2e%2e/Deployments/expensive"),
    ],
)
def test_an_address_that_names_another_model_is_refused(policy: ServerPolicy, model: str, path: str) -> None:
    with pytest.raises(ConfigError, match=r"models\.judge\.base_url: its path names another model"):
        confine(make(model, path), policy)


@pytest.mark.parametrize("model", ["azure_openai:cheap/../expensive", "azure_openai:cheap%2F", "openai:cheap?x=1"])
def test_a_name_that_leads_elsewhere_in_an_address_is_refused(policy: ServerPolicy, model: str) -> None:
    with pytest.raises(ConfigError, match=r"models\.judge\.model: .* is not accepted here"):
        confine(make(model, ""), policy)


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("azure_openai:cheap", ""),
        ("azure_openai:cheap", "/openai/deployments/cheap/chat/completions?api-version=2024-10-21"),
        ("openai:cheap", "/v1"),
        ("openai:cheap/with-3.5_b", "/v1/openai"),
    ],
)
def test_other_addresses_pass(policy: ServerPolicy, model: str, path: str) -> None:
    confine(make(model, path), policy)
