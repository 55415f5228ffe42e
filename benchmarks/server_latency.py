"""How fast `langgraph dev` answers while a fine-tuning keeps every core busy.

    python -m benchmarks.server_latency [--seconds 60]

The student has random weights in the shape of SmolLM2-135M (its transformer, with a byte vocabulary). Prints milliseconds as JSON.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import httpx
import torch
from langgraph_sdk import get_sync_client
from langgraph_sdk.schema import StreamPart
from transformers import LlamaConfig, LlamaForCausalLM

from tests.dev_server import DevServer, running_server
from tests.tiny_models import TEMPLATE, make_byte_tokenizer, save_embedder
from tests.toy_world import LABELS, TRAIN, VALIDATION

PAUSE_SECONDS = 0.1
UNUSED = "http://127.0.0.1:9/v1"


def save_large_student(folder: Path) -> Path:
    """About 106 million random parameters."""
    tokenizer = make_byte_tokenizer(["<|start|>", "<|end|>", "<|pad|>"])
    tokenizer.chat_template = TEMPLATE
    tokenizer.eos_token, tokenizer.pad_token = "<|end|>", "<|pad|>"
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        max_position_embeddings=2048,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def measure(server: DevServer, thread: str, seconds: float) -> dict[str, list[float]]:
    """Milliseconds of every answer by request, in rounds with a pause between them."""
    requests = {"ok": "/ok", "thread": f"/threads/{thread}", "state": f"/threads/{thread}/state"}
    took: dict[str, list[float]] = {name: [] for name in requests}
    end = time.monotonic() + seconds
    with httpx.Client(base_url=server.url, timeout=30) as client:
        while time.monotonic() < end:
            for name, path in requests.items():
                start = time.perf_counter()
                client.get(path).raise_for_status()
                took[name].append((time.perf_counter() - start) * 1000)
            time.sleep(PAUSE_SECONDS)
    return took


def describe(took: list[float]) -> dict[str, float]:
    """Number of answers; median, 95th percentile and maximum in milliseconds."""
    cuts = statistics.quantiles(took, n=20)
    return {"n": len(took), "p50": round(cuts[9], 1), "p95": round(cuts[18], 1), "max": round(max(took), 1)}


def main() -> None:
    """Measure before and during a fine-tuning."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60, help="of each measurement")
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory() as name, running_server(Path(name, "server"), UNUSED) as server:
        folder, llm = Path(name), {"model": "openai:unused", "base_url": UNUSED}
        context: Any = {
            "task": {"labels": LABELS},
            "student": {"model": str(save_large_student(folder / "student"))},
            "lora": {"n_steps": 100_000, "max_length": 512},
            "loop": {"max_iterations": 0},
            "models": {
                "analyst": llm,
                "generator": llm,
                "judge": llm,
                "embedder": str(save_embedder(folder / "embedder")),
            },
        }
        with get_sync_client(url=server.url) as client:
            thread = client.threads.create()["thread_id"]
            idle = measure(server, thread, seconds)
            run = client.runs.create(
                thread,
                "pada_agent",
                input=cast(dict[str, Any], {"train": TRAIN, "validation": VALIDATION}),
                context=context,
                stream_mode="custom",
            )
            events = client.runs.join_stream(thread, run["run_id"], stream_mode="custom")
            with closing(cast(Generator[StreamPart, None, None], events)):
                next(e for e in events if e.event == "custom" and e.data["stage"] == "fine_tune")
            load_before = os.getloadavg()
            busy = measure(server, thread, seconds)
            client.runs.cancel(thread, run["run_id"], wait=True)
    result = {
        "cores": os.cpu_count(),
        "load_average_1_min": [round(load_before[0], 1), round(os.getloadavg()[0], 1)],
        "idle_ms": {name: describe(took) for name, took in idle.items()},
        "fine_tuning_ms": {name: describe(took) for name, took in busy.items()},
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
