"""Runs vLLM in its own process (`python -m pada_agent.training.generation.vllm_process`), so that all its memory is freed when it ends.

The first line on stdin is an `EngineSpec`, every other line a `WriteRequest`. Answers on stdout, one JSON line each: `{"ready": true}` once
the engine runs; for each request `{"done": rows}` while it writes, then `{"tokens": [[...], ...]}` in the order of the prompts;
`{"error": "..."}` if something failed. Ends when stdin closes.
"""

import json
import traceback
from collections.abc import Callable, Iterator
from typing import Any, TextIO

from pada_agent.core.records import Record
from pada_agent.training.json_pipes import claim_stdout, read_stdin

GPU_SHARE = 0.9
"""Fraction of the free GPU memory that the engine uses for weights, keys and values."""
CPU_CACHE_BYTES = 2 * 2**30
"""Memory for keys and values on CPU, as much as our own engine uses."""


class EngineSpec(Record):
    """What an engine is started with."""

    model: str
    """Hub id or folder."""
    revision: str | None = None
    device: str
    """`cpu` or `cuda`."""
    max_tokens: int
    """Longest sequence: prompt and new tokens together."""
    max_rank: int | None = None
    """Largest rank of an adapter. None: no adapters."""


class WriteRequest(Record):
    """Prompts to continue greedily."""

    prompts: tuple[tuple[int, ...], ...]
    max_new_tokens: int
    end_ids: tuple[int, ...]
    """Each of these tokens ends a row, and no other does."""
    stop: tuple[str, ...] = ()
    adapter: str | None = None
    """Folder of the adapter."""
    adapter_id: int = 0
    """A different number for each adapter."""


def open_engine(spec: EngineSpec) -> Any:
    """Start vLLM, in fp32 on CPU and in bf16 on CUDA, like our own engine."""
    from vllm import LLM

    on_gpu = spec.device == "cuda"
    lora = {"enable_lora": True, "max_loras": 1, "max_lora_rank": spec.max_rank} if spec.max_rank else {}
    memory = {"gpu_memory_utilization": _measure_share()} if on_gpu else {"kv_cache_memory_bytes": CPU_CACHE_BYTES}
    return LLM(
        model=spec.model,
        revision=spec.revision,
        tokenizer_revision=spec.revision,
        trust_remote_code=False,
        dtype="bfloat16" if on_gpu else "float32",
        max_model_len=spec.max_tokens,
        seed=0,
        enforce_eager=not on_gpu,  # to compile for a CPU takes longer than a small student writes
        **lora,
        **memory,
    )


def write(engine: Any, request: WriteRequest, on_done: Callable[[int], None]) -> list[list[int]]:
    """The new tokens of each prompt, including the one that ended it."""
    from vllm import SamplingParams

    settings = SamplingParams(
        temperature=0.0,
        max_tokens=request.max_new_tokens,
        stop_token_ids=sorted(request.end_ids),
        ignore_eos=True,  # those that end a row are all in `end_ids`
        stop=list(request.stop) or None,
        detokenize=bool(request.stop),
    )
    outputs = engine.generate(
        [{"prompt_token_ids": list(prompt)} for prompt in request.prompts],
        settings,
        use_tqdm=_count_by(on_done),
        lora_request=_name_adapter(request),
    )
    return [list(output.outputs[0].token_ids) for output in outputs]


def _name_adapter(request: WriteRequest) -> Any:
    from vllm.lora.request import LoRARequest

    return (
        LoRARequest(f"adapter-{request.adapter_id}", request.adapter_id, request.adapter) if request.adapter else None
    )


def _count_by(on_done: Callable[[int], None]) -> Any:
    """A progress bar that shows nothing but reports finished prompts."""
    from tqdm import tqdm

    class Counter(tqdm):  # type: ignore[misc]
        def display(self, *_: Any, **__: Any) -> None:
            pass

        def update(self, n: float | None = 1) -> None:
            super().update(n)
            if str(self.desc).startswith("Processed"):  # another bar counts the prompts that are handed over
                on_done(int(self.n))

    return Counter


def _measure_share() -> float:
    """vLLM takes a fraction of the whole memory, and does not start if less is free."""
    import torch

    free, total = torch.cuda.mem_get_info()
    return round(GPU_SHARE * free / total, 3)


def serve(lines: Iterator[str], answers: TextIO) -> None:
    """Start the engine, then answer each request."""

    def answer(**values: object) -> None:
        answers.write(json.dumps(values) + "\n")
        answers.flush()

    engine: Any = None
    for line in lines:
        try:
            if engine is None:
                engine = open_engine(EngineSpec.model_validate_json(line))
                answer(ready=True)
            else:
                request = WriteRequest.model_validate_json(line)
                answer(tokens=write(engine, request, lambda n: answer(done=n)))
        except Exception as exc:  # noqa: BLE001  (the worker turns it into a TrainingError; the log keeps the traceback)
            traceback.print_exc()
            answer(error=f"{type(exc).__name__}: {exc}")


def main() -> None:
    """Serve stdin until it closes."""
    answers = claim_stdout()
    serve(read_stdin(), answers)


if __name__ == "__main__":
    main()
