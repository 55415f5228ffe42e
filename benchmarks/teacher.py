"""C6: the demo's requests to its embedded teacher, in requests per minute.

- ours: the engine as `pada` starts it.
- llama-server: the same build of llama.cpp with the settings that its own `llama-server` has.
- limit: what the machine allows with this build and model: the prompt tokens, with shared prefixes counted once, at the best
  prefill rate, plus the written tokens at the best rate for several callers.

All get the same requests in the recorded order from as many callers as ours has slots, at temperature 0, with a fresh engine
for each repetition. Texts have to be the same; if they diverge at two tokens that are about equally likely, it counts as a tie. llama.cpp rounds
differently whenever other requests are in the same batch, so the peer's own repetitions say how far texts may diverge.
"""

import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

from benchmarks.engine import EngineSettings, connect, post, serving
from benchmarks.measuring import Options, Outcome, compare, interleave
from benchmarks.teacher_requests import (
    MOST_TOKENS,
    Body,
    Replay,
    Tokens,
    check_parity,
    count_distinct,
    make_body,
    measure_gap,
    read_requests,
    replay,
    teacher_config,
    tokenize,
)
from pada_agent.app.adapters.llm import local_engine
from pada_agent.app.adapters.storage import model_store
from pada_agent.core.chat import ChatRequest

N_REQUESTS = 16
"""A repetition of ours takes about three minutes on two cores."""
SMALL_MODEL = "smollm2-135m-instruct"
"""For `--quick`."""
LLAMA_SERVER = EngineSettings(
    params={"cpuparams.n_threads": psutil.cpu_count(logical=False) or psutil.cpu_count()}, ours_waits=False
)
"""`llama-server` uses the number of physical cores; as a library, llama.cpp does not determine it."""
WRITERS = (4, 8, 16)
"""Numbers of callers at once. The fastest one counts."""
WRITTEN_TOKENS = 24
N_PREFILLS = 3
N_QUICK = 2


@dataclass(frozen=True)
class Rates:
    """Rates of the machine for one kind of work alone, in tokens per second."""

    prefill: float
    writing: float


@dataclass
class Replays:
    """The arms' results so far."""

    file: Path
    bodies: Sequence[Body]
    templates: Sequence[str]
    prompts: Sequence[Tokens]
    n_slots: int
    context_tokens: int
    writers: Sequence[int] = WRITERS
    of: dict[str, list[Replay]] = field(default_factory=dict)
    rates: list[Rates] = field(default_factory=list)

    def ours(self, _: int) -> float:
        endpoint = local_engine.acquire(self.file, n_slots=self.n_slots, context_tokens=self.context_tokens)
        try:
            with connect(*endpoint) as client:
                return self.note("ours", replay(client, self.bodies, n_callers=self.n_slots))
        finally:
            local_engine.release(self.file)

    def peer(self, _: int) -> float:
        with serving(self.file, LLAMA_SERVER) as client:
            return self.note("llama-server", replay(client, self.bodies, n_callers=self.n_slots))

    def limit(self, _: int) -> float:
        """Tokens of the texts that ours wrote."""
        settings = EngineSettings(n_slots=max(self.writers), context_tokens=self.context_tokens)
        with serving(self.file, settings) as client:
            rates = measure_rates(client, self.prompts, self.writers)
        self.rates.append(rates)
        seconds = count_distinct(self.prompts) / rates.prefill + self.of["ours"][-1].n_written / rates.writing
        return 60 * len(self.bodies) / seconds

    def note(self, arm: str, found: Replay) -> float:
        self.of.setdefault(arm, []).append(found)
        return found.per_minute


def run(options: Options) -> Outcome:
    """Each repetition runs all three arms.

    Raises:
        ConfigError: the teacher is not on this machine.
        BenchmarkError: texts differ.
    """
    found = open_replays(options, read_requests(N_REQUESTS))
    figures = interleave({"ours": found.ours, "llama-server": found.peer, "limit": found.limit}, options)
    parity = compare_texts(found)
    last = found.of["ours"][-1]
    prefill, writing = (statistics.median(getattr(r, kind) for r in found.rates) for kind in ("prefill", "writing"))
    about = (
        f"{parity}; {sum(map(len, found.prompts))} prompt tokens, {count_distinct(found.prompts)} different, of which ours"
        f" computed {last.n_computed} and llama-server {found.of['llama-server'][-1].n_computed}; {last.n_written} written;"
        f" alone, {prefill:.0f} tokens/s are prefilled and {writing:.1f} written"
    )
    what, unit = f"{len(found.bodies)} requests", "requests/min"
    rows = [
        compare(what, figures["ours"], figures["llama-server"], peer_name="llama-server", unit=unit, target=1.8),
        compare(what, figures["ours"], figures["limit"], peer_name="limit", unit=unit, target=0.8),
    ]
    return Outcome(parity=about, rows=rows)


def open_replays(options: Options, requests: Sequence[ChatRequest]) -> Replays:
    """The requests and the model, before any arm has run."""
    config = teacher_config()
    name = SMALL_MODEL if options.quick else config.model.removeprefix("local:")
    file = find_gguf(model_store.resolve(name))
    if options.quick:
        requests = sorted(requests, key=lambda request: len(request.messages[-1].content))[:N_QUICK]
    bodies = [make_body(request, most_tokens=4 if options.quick else MOST_TOKENS) for request in requests]
    templates = [str(request.tags["prompt"]) for request in requests]
    with serving(file, EngineSettings(n_slots=1, context_tokens=config.context_tokens)) as client:
        prompts = [tokenize(client, body) for body in bodies]
    writers = (1,) if options.quick else WRITERS
    return Replays(file, bodies, templates, prompts, config.max_concurrency, config.context_tokens, writers)


def find_gguf(path: Path) -> Path:
    return path if path.is_file() else next(path.glob("*.gguf"))


def compare_texts(found: Replays) -> str:
    """All arms' texts, with the gaps measured on an engine of one slot.

    Raises:
        BenchmarkError: they differ.
    """
    names = list(found.of)
    texts = [[[answer.text for answer in replay.answers] for replay in replays] for replays in found.of.values()]
    with serving(found.file, EngineSettings(n_slots=1, context_tokens=found.context_tokens)) as client:
        return check_parity(names, texts, lambda i, a, b: measure_gap(client, found.prompts[i], a, b))


def measure_rates(client: httpx.Client, prompts: Sequence[Tokens], writers: Sequence[int]) -> Rates:
    """The best rates over a few prompts of medium length, and over several numbers of callers."""
    middle = sorted(prompts, key=len)[len(prompts) // 2 :][:N_PREFILLS]
    prefill = max(measure_prefill(client, prompt) for prompt in middle)
    return Rates(prefill, max(measure_writing(client, prompts[0], n) for n in writers))


def measure_prefill(client: httpx.Client, prompt: Tokens) -> float:
    timings = post(client, "/completion", {"prompt": list(prompt), "n_predict": 1, "cache_prompt": False})["timings"]
    return 1000 * float(timings["prompt_n"]) / float(timings["prompt_ms"])


def measure_writing(client: httpx.Client, prompt: Tokens, n_callers: int) -> float:
    """Tokens per second of all callers together, after short prompts, which need less attention."""
    body = {"prompt": list(prompt[:16]), "n_predict": WRITTEN_TOKENS, "ignore_eos": True, "cache_prompt": False}
    start = time.perf_counter()
    with ThreadPoolExecutor(n_callers) as pool:
        answers = list(pool.map(lambda _: post(client, "/completion", body), range(n_callers)))
    seconds = time.perf_counter() - start - max(float(a["timings"]["prompt_ms"]) for a in answers) / 1000
    return sum(int(a["tokens_predicted"]) for a in answers) / seconds
