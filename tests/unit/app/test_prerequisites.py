"""Everything that settings need and that is not there is told at once, by key."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest

from pada_agent.app import prerequisites
from pada_agent.app.prerequisites import find_missing, list_roles, warn_about_prices
from pada_agent.core.config_files import parse_config
from pada_agent.core.errors import ConfigError
from pada_agent.core.jobs import NEEDS_QLORA
from pada_agent.evaluation.rows.findings import stop
from tests.toy_student import make_weights

SERVER = {"model": "openai:toy", "base_url": "http://127.0.0.1:9/v1"}


@pytest.fixture
def models(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "student").mkdir()
    (tmp_path / "student" / "config.json").write_text("{}")
    (tmp_path / "student" / "model.safetensors").write_bytes(make_weights())
    folder = str(tmp_path / "student")
    roles = {"analyst": SERVER, "generator": SERVER, "judge": SERVER}
    return {"student": {"model": folder}, "models": {"embedder": folder, **roles}}


def find(values: dict[str, Any]) -> list[Any]:
    return find_missing(parse_config(values, origin="test"))


def test_nothing_is_missing(models: dict[str, Any]) -> None:
    assert find(models) == []


def test_all_that_is_missing_is_told_once_with_every_key(models: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    models["task"] = {"name": "nonsense"}
    models["student"] = {"model": str(tmp_path / "empty")}
    models["models"] |= {
        "embedder": "all-mpnet-base-v2",
        "analyst": {"model": "openai:big"},
        "generator": {"model": "local:qwen2.5-coder-1.5b-instruct"},
        "judge": {"model": "local:qwen2.5-coder-1.5b-instruct"},
    }
    texts = [finding.text for finding in find(models) if finding.stops and finding.kind == "settings"]
    assert texts[0].startswith("task.name: there is no task 'nonsense'")
    assert texts[1:] == [
        f"student.model: {tmp_path / 'empty'}: the folder is empty. Give the folder of a model, or a hub id.",
        "models.embedder: model all-mpnet-base-v2 is not on this machine. Fetch it with: pada models pull all-mpnet-base-v2",
        "models.analyst: no API key. Set the environment variable OPENAI_API_KEY, or choose another model.",
        "models.generator, models.judge: model qwen2.5-coder-1.5b-instruct is not on this machine. Fetch it with: pada models"
        " pull qwen2.5-coder-1.5b-instruct",
    ]


@pytest.mark.parametrize(
    ("change", "asked"),
    [
        ({"generation": {"pattern_share": 0}}, ["generator", "judge"]),
        ({"loop": {"max_iterations": 0}, "task": {"name": "judge"}}, ["judge"]),
        ({"loop": {"max_iterations": 0}}, []),
    ],
)
def test_keys_are_needed_for_the_roles_that_a_run_asks(
    models: dict[str, Any], monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], asked: list[str]
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    models["models"] |= {key: {"model": "openai:big"} for key in ("analyst", "generator", "judge")}
    texts = [finding.text.partition(". ")[0] for finding in find({**models, **change})]
    assert texts == [f"models.{role}: no API key" for role in asked]


PRICED = {**SERVER, "usd_per_million_output_tokens": 1.0}


@pytest.mark.parametrize(
    ("change", "is_refused"),
    [
        ({"budget": {"max_usd": 5}}, True),
        ({"budget": {"max_usd": 5}, "loop": {"max_iterations": 0}}, False),
        ({"budget": {"max_usd": 5}, "models": {"generator": PRICED}}, False),
        ({"budget": {"max_usd": 5}, "models": {"judge": PRICED}, "quality": {"enabled": False}}, True),
        ({"budget": {"max_tokens": 5}}, False),
    ],
)
def test_a_budget_in_dollars_needs_a_price(models: dict[str, Any], change: dict[str, Any], is_refused: bool) -> None:
    roles = models["models"] | change.pop("models", {})
    texts = [finding.text for finding in find({**models, "models": roles, **change})]
    assert [text.startswith("budget.max_usd would never be reached") for text in texts] == [True] * is_refused


PAID = {"model": "openai:m"}
HALF = {**PAID, "usd_per_million_input_tokens": 1.0}
WHOLE = {**HALF, "usd_per_million_output_tokens": 1.0}


@pytest.mark.parametrize(
    ("change", "unpriced"),
    [
        ({}, "models.analyst (usd_per_million_input_tokens, usd_per_million_output_tokens), models.generator"
         " (usd_per_million_output_tokens)"),
        ({"generation": {"pattern_share": 0}}, "models.generator (usd_per_million_output_tokens)"),
        ({"budget": {"max_calls": 5}}, ""),
        ({"models": {"analyst": SERVER, "generator": WHOLE, "judge": WHOLE}}, ""),
    ],
)  # fmt: skip
def test_a_budget_in_dollars_warns_of_models_that_it_leaves_out(change: dict[str, Any], unpriced: str) -> None:
    models = {"analyst": PAID, "generator": HALF, "judge": WHOLE}
    config = parse_config({"budget": {"max_usd": 1}, "models": models, **change}, origin="test")
    told = "budget.max_usd counts tokens without a price as free: set prices for {}, unless they are free"
    assert warn_about_prices(config) == ((told.format(unpriced),) if unpriced else ())


def test_the_judge_is_asked_where_it_answers_written_rows_without_rating_them() -> None:
    config = parse_config({"quality": {"enabled": False}, "verification": {"votes": 3}}, origin="test")
    assert list_roles(config) == ["analyst", "generator", "judge"]


def test_a_pointer_that_nobody_reads_does_no_harm(models: dict[str, Any], tmp_path: Path) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n"
    (tmp_path / "student" / "tokenizer.model").write_text(pointer)
    assert len(find(models)) == 1
    (tmp_path / "student" / "tokenizer.json").write_text("{}")
    assert find(models) == []


def test_files_of_student_and_embedder_that_are_not_whole_are_told(models: dict[str, Any], tmp_path: Path) -> None:
    folder = tmp_path / "student"
    (folder / "model.safetensors").unlink()
    assert [finding.text for finding in find(models)] == [
        f"student.model, models.embedder: {folder}: has no weights: neither model.safetensors nor"
        " model.safetensors.index.json is there. Fetch the model again."
    ]


def test_vllm_is_looked_for_on_this_machine_alone(models: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(device: str) -> None:
        raise ConfigError(f"not for {device}")

    monkeypatch.setattr(prerequisites, "check_installed", refuse)
    models["student"]["engine"] = "vllm"
    assert [finding.text for finding in find({**models, "compute": {"device": "cpu"}})] == [
        "student.engine: not for cpu"
    ]
    monkeypatch.setattr(prerequisites, "find_backend", lambda _: None)
    assert find({**models, "compute": {"backend": "ray"}}) == []


@pytest.mark.parametrize(
    ("backend", "told"),
    [
        ("ray", "compute.backend: ray needs Ray: pip install 'pada-agent[cluster]'"),
        ("slurm", "compute.backend: there is no backend 'slurm'; known are local, ray."),
    ],
)
def test_a_backend_that_is_not_installed_is_told_with_everything_else(
    models: dict[str, Any], monkeypatch: pytest.MonkeyPatch, backend: str, told: str
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    found = find({**models, "compute": {"backend": backend}, "prompts": {"error_analysis": "{% if %}"}})
    assert (found[0], len(found)) == (stop(told, "settings"), 2)


def test_a_prompt_that_does_not_parse_is_told(models: dict[str, Any]) -> None:
    (found,) = find({**models, "prompts": {"error_analysis": "{% if %}"}})
    assert found == stop(found.text, found.kind) and "error_analysis" in found.text


@pytest.mark.parametrize(
    ("found", "backend", "load_in", "n_problems"),
    [(None, "local", "4bit", 1), (object(), "local", "4bit", 0), (None, "local", None, 0), (None, "ray", "4bit", 0)],
)
def test_weights_in_4_bits_need_the_extra_on_the_machine_that_trains(
    models: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    found: object,
    backend: str,
    load_in: str | None,
    n_problems: int,
) -> None:
    monkeypatch.setattr(prerequisites, "find_spec", lambda _: found)
    monkeypatch.setattr(prerequisites, "find_backend", lambda _: None)
    models["student"]["load_in"] = load_in
    texts = [finding.text for finding in find({**models, "compute": {"backend": backend}})]
    assert texts == n_problems * [NEEDS_QLORA]


@pytest.mark.parametrize(
    ("backend", "store", "words"),
    [
        (
            "ray",
            "ftp://a/b",
            r"ftp://a/b is not the address of an object store\. There are: s3://, gs://, az://, file://",
        ),
        ("ray", "memory://a", "memory://a is not the address of an object store"),
        ("local", "ftp://a/b", ""),
        ("ray", None, ""),
    ],
)
def test_an_object_store_that_cannot_be_used_is_told_if_it_is_used(
    models: dict[str, Any], monkeypatch: pytest.MonkeyPatch, backend: str, store: str | None, words: str
) -> None:
    monkeypatch.setattr(prerequisites, "find_backend", lambda _: None)
    found = find({**models, "compute": {"backend": backend, "cluster": {"store": store}}})
    assert len(found) == bool(words)
    assert all(re.match(f"compute.cluster.store: {words}", finding.text) and finding.stops for finding in found)


ROLES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "the whole loop": ({}, ["analyst", "generator", "judge"]),
    "fine-tuning alone": ({"loop": {"max_iterations": 0}}, []),
    "the oracle": ({"generation": {"sources": "held_back", "pattern_share": 0}}, []),
    "real rows beside those of patterns": ({"generation": {"sources": "held_back"}}, ["analyst", "generator", "judge"]),
    "no patterns": ({"generation": {"pattern_share": 0.0}}, ["generator", "judge"]),
    "no ratings": ({"quality": {"enabled": False}}, ["analyst", "generator"]),
    "a judge for answers": ({"task": {"name": "judge"}, "loop": {"max_iterations": 0}}, ["judge"]),
}


@pytest.mark.parametrize("name", ROLES)
def test_only_roles_that_a_run_asks_are_asked(name: str) -> None:
    values, roles = ROLES[name]
    assert list_roles(parse_config(values, origin="test")) == roles
