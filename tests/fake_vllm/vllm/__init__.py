"""Stands in for vLLM where it is not installed: takes what vLLM 0.32.0 takes, and refuses what it refuses.

Writes what the file FAKE_VLLM_ANSWERS says: for each adapter folder (`-` for none) and prompt, the tokens. Writes what it was given into the
file FAKE_VLLM_LOG.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from vllm.lora.request import LoRARequest

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)


def note(**values: object) -> None:
    with Path(os.environ["FAKE_VLLM_LOG"]).open("a") as log:
        log.write(json.dumps(values) + "\n")


class SamplingParams:
    def __init__(
        self,
        *,
        temperature: float = 1.0,
        max_tokens: int = 16,
        stop_token_ids: list[int] | None = None,
        ignore_eos: bool = False,
        stop: list[str] | None = None,
        detokenize: bool = True,
    ) -> None:
        if stop and not detokenize:
            raise ValueError("stop strings are only supported when detokenize is True.")
        self.shown = {
            "temperature": temperature,
            "stop": stop,
            "stop_token_ids": stop_token_ids,
            "ignore_eos": ignore_eos,
        }
        self.max_tokens, self.ends = max_tokens, set(stop_token_ids or [])


class LLM:
    def __init__(
        self,
        model: str,
        *,
        revision: str | None = None,
        tokenizer_revision: str | None = None,
        trust_remote_code: bool = False,
        dtype: str = "auto",
        max_model_len: int | None = None,
        seed: int = 0,
        enable_lora: bool = False,
        max_loras: int = 1,
        max_lora_rank: int = 16,
        gpu_memory_utilization: float = 0.92,
        enforce_eager: bool = False,
        kv_cache_memory_bytes: int | None = None,
    ) -> None:
        if max_lora_rank not in RANKS:
            raise ValueError(f"max_lora_rank: Input should be one of {RANKS}")
        given = {"model": model, "revisions": [revision, tokenizer_revision], "trust": trust_remote_code, "seed": seed}
        lora = {"lora": enable_lora, "rank": max_lora_rank, "max_loras": max_loras}
        memory = {"limit": max_model_len, "share": gpu_memory_utilization, "cache_bytes": kv_cache_memory_bytes}
        note(call="LLM", pid=os.getpid(), dtype=dtype, eager=enforce_eager, **given, **lora, **memory)
        if failure := os.environ.get("FAKE_VLLM_FAILS"):
            raise ValueError(failure)
        self.max_lora_rank = max_lora_rank if enable_lora else 0
        self.loaded: dict[int, str] = {}

    def generate(
        self,
        prompts: Sequence[dict[str, list[int]]],
        sampling_params: SamplingParams,
        *,
        use_tqdm: Any = True,
        lora_request: LoRARequest | None = None,
    ) -> list[Any]:
        note(
            call="generate",
            prompts=[prompt["prompt_token_ids"] for prompt in prompts],
            adapter=lora_request and [lora_request.lora_int_id, lora_request.lora_path],
            **sampling_params.shown,
        )
        known = json.loads(Path(os.environ["FAKE_VLLM_ANSWERS"]).read_text())[self._load(lora_request)]
        adding = use_tqdm(total=len(prompts), desc="Adding requests")
        bar = use_tqdm(total=len(prompts), desc="Processed prompts")
        outputs = []
        for prompt in prompts:
            adding.update(1)
            new = known[" ".join(map(str, prompt["prompt_token_ids"]))][: sampling_params.max_tokens]
            end = next((i + 1 for i, token in enumerate(new) if token in sampling_params.ends), len(new))
            outputs.append(SimpleNamespace(outputs=[SimpleNamespace(token_ids=new[:end])]))
            bar.update(1)
        return outputs

    def _load(self, request: LoRARequest | None) -> str:
        """As in vLLM, what was loaded under an id stays."""
        if request is None:
            return "-"
        rank = json.loads((Path(request.lora_path) / "adapter_config.json").read_text())["r"]
        if rank > self.max_lora_rank:
            raise ValueError(f"LoRA rank {rank} is greater than max_lora_rank {self.max_lora_rank}.")
        return self.loaded.setdefault(request.lora_int_id, request.lora_path)
