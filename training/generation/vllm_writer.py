"""vLLM as the student's writer: starts its process, passes prompts as tokens, and reads the rows as our own engine does."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import torch

from pada_agent.core.errors import TrainingError
from pada_agent.core.jobs import PredictJob
from pada_agent.core.progress import Progress
from pada_agent.core.records import Example, Prediction
from pada_agent.core.vllm_limits import LORA_RANKS, check_installed, choose_max_rank
from pada_agent.training.encoding import ChatEncoder
from pada_agent.training.generation.stopping import Stops, encode_rows
from pada_agent.training.generation.vllm_process import EngineSpec, WriteRequest
from pada_agent.training.lora import check_numbers
from pada_agent.training.students import find_source, read_tokenizer

COMMAND = (sys.executable, "-m", "pada_agent.training.generation.vllm_process")
SHORTEST_LIMIT = 2048
"""Tokens per sequence that every engine supports at least, so that the next job rarely needs another one."""
UNSUPPORTED = (
    *("use_dora", "modules_to_save", "rank_pattern", "alpha_pattern", "lora_bias", "trainable_token_indices"),
    *("layer_replication", "alora_invocation_tokens", "use_qalora", "use_bdlora"),
)
"""Options of PEFT adapters that vLLM refuses or, in some versions, silently ignores."""


class VllmWriter:
    """Writes greedily with vLLM, in a process that is started when it is needed and runs until `close`."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._process: subprocess.Popen[str] | None = None
        self._spec: EngineSpec | None = None
        self._adapter_ids: dict[tuple[str, str | None], int] = {}

    def write(
        self, job: PredictJob, examples: Sequence[Example], *, on_progress: Callable[[Progress], None]
    ) -> list[Prediction]:
        """What the student writes for each row, as `greedy.generate` cuts it.

        Raises:
            ConfigError: vLLM is not installed, or not for this device.
            DatasetError: a row leaves no room in the model's context.
            TrainingError: vLLM fails, or cannot apply the adapter.
        """
        check_installed("cuda" if self._device.type == "cuda" else "cpu")
        tokenizer, facts = read_tokenizer(job.student)
        encoder = ChatEncoder(
            tokenizer, chat=job.chat, end_token_ids=facts.end_token_ids, n_embeddings=facts.n_embeddings
        )
        rows = encode_rows(encoder, examples, max_new_tokens=job.max_new_tokens, context_tokens=facts.context_tokens)
        stops = Stops(tokenizer, job, encoder.stop_token_ids)
        longest = max(len(row.prompt) for row in rows) + job.max_new_tokens
        self._start(job, n_tokens=_round_up(longest, facts.context_tokens), on_progress=on_progress)
        request = WriteRequest(
            prompts=tuple(tuple(row.prompt) for row in rows),
            max_new_tokens=job.max_new_tokens,
            end_ids=tuple(encoder.stop_token_ids),
            stop=()
            if any(row.opening or row.lead for row in rows)
            else job.stop,  # inside a thought or a lead they end nothing
            adapter=job.adapter,
            adapter_id=self._number(job),
        )
        tokens: list[list[int]] = self._ask(request.model_dump_json(), on_progress, n_rows=len(rows))["tokens"]
        for row, new in zip(rows, tokens, strict=True):
            stops.add_all(row, new)
        return [stops.read(example, row) for example, row in zip(examples, rows, strict=True)]

    def close(self) -> None:
        """End the process, which frees the GPU's memory."""
        process, self._process, self._spec = self._process, None, None
        if process is not None:
            process.kill()
            for pipe in (process.stdin, process.stdout):
                with suppress(OSError):
                    if pipe:
                        pipe.close()
            process.wait()

    def _start(self, job: PredictJob, *, n_tokens: int, on_progress: Callable[[Progress], None]) -> None:
        """Start an engine for the job, unless the running one will do."""
        source, revision = find_source(job.student)
        rank = read_rank(Path(job.adapter)) if job.adapter else None
        if job.adapter:
            check_numbers(Path(job.adapter))  # vLLM would write on
        spec = EngineSpec(
            model=source,
            revision=revision,
            device=self._device.type,
            max_tokens=n_tokens,
            max_rank=choose_max_rank(rank) if rank else None,
        )
        if self._process is not None and self._spec is not None and _covers(self._spec, spec):
            return
        self.close()
        detail = f"{job.student}, vLLM"
        on_progress(Progress(stage="load", done=0, total=1, detail=detail))
        self._process = subprocess.Popen(
            COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            env=_choose_environment(os.environ, torch.get_num_threads()),
        )
        self._ask(spec.model_dump_json(), on_progress)
        self._spec = spec
        on_progress(Progress(stage="load", done=1, total=1, detail=detail))

    def _number(self, job: PredictJob) -> int:
        """An id for the adapter, because vLLM caches adapters by id."""
        if not job.adapter:
            return 0
        return self._adapter_ids.setdefault((job.adapter, job.adapter_hash), len(self._adapter_ids) + 1)

    def _ask(self, line: str, on_progress: Callable[[Progress], None], *, n_rows: int = 0) -> dict[str, Any]:
        """The answer to one line. Any failure ends the process, because it may be in no state to continue."""
        process = self._process
        assert process is not None
        stdin: IO[str] = process.stdin  # type: ignore[assignment]
        stdout: IO[str] = process.stdout  # type: ignore[assignment]
        try:
            with suppress(BrokenPipeError):  # the end of its output, read next, says more
                stdin.write(line + "\n")
                stdin.flush()
            for answer in map(json.loads, stdout):
                if "error" in answer:
                    raise TrainingError(f"vLLM failed: {answer['error']}. See worker.log for more.")
                if "done" not in answer:
                    return dict(answer)
                on_progress(Progress(stage="predict", done=answer["done"], total=n_rows, unit="rows"))
            raise TrainingError(f"vLLM ended with exit status {process.wait()}. See worker.log for more.")
        except BaseException:
            self.close()
            raise


def read_rank(adapter: Path) -> int:
    """The adapter's rank.

    Raises:
        TrainingError: this is not an adapter, or it has parts that vLLM cannot apply.
    """
    path = adapter / "adapter_config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        rank = int(config["r"])
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise TrainingError(f"{path}: not the settings of a LoRA adapter ({type(exc).__name__}: {exc})") from exc
    found = [name for name in UNSUPPORTED if config.get(name)]
    found += [f"bias: {config['bias']}"] if config.get("bias", "none") != "none" else []
    found += [f"r: {rank}"] if rank > LORA_RANKS[-1] else []
    if found:
        raise TrainingError(f"{path}: vLLM cannot apply this adapter ({', '.join(found)}). Set student.engine to own.")
    return rank


def _covers(running: EngineSpec, needed: EngineSpec) -> bool:
    same = running.model_copy(update={"max_tokens": needed.max_tokens, "max_rank": needed.max_rank}) == needed
    return same and running.max_tokens >= needed.max_tokens and (running.max_rank or 0) >= (needed.max_rank or 0)


def _round_up(n_tokens: int, context: int) -> int:
    """The next power of two, so that longer rows rarely need another engine."""
    return min(context, max(SHORTEST_LIMIT, 1 << (n_tokens - 1).bit_length()))


def _choose_environment(environment: Any, n_threads: int) -> dict[str, str]:
    """Environment in which vLLM starts no processes of its own, because nobody would end them, and sends no usage statistics.

    Other variables that the user has set are kept.
    """
    defaults = {
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_LOGGING_LEVEL": "WARNING",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "OMP_NUM_THREADS": str(n_threads),
    }
    return defaults | dict(environment) | {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
