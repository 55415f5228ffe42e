"""C6-levers: one change at a time to how the embedded teacher is started or called, compared with how `pada` does it.

A sweep to choose from, with one run per lever, on fewer requests than C6. Finished levers are kept in `results/C6-levers.partial.jsonl`,
and a second call continues from there. `pada`'s own way is measured again after every few levers, which shows how much the machine's speed varies.
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.engine import EngineSettings, serving
from benchmarks.measuring import RESULTS, BenchmarkError, Comparison, Options, Outcome, compare
from benchmarks.teacher import LLAMA_SERVER, Replays, open_replays
from benchmarks.teacher_requests import (
    Body,
    Replay,
    order_by_prefix,
    put_static_first,
    read_requests,
    replay,
    write_compact,
    write_freely,
)
from pada_agent.app.adapters.storage import model_store
from pada_agent.core.errors import PadaError
from pada_agent.core.json_lines import read_json_lines
from pada_agent.core.records import Record

N_REQUESTS = 10
MOST_ROWS = 2
"""Most rows per request, so that a run takes about a minute and a half on two cores."""
MINUTES = 25.0
LEVERS_PER_BASELINE = 5
PARTIAL = RESULTS / "C6-levers.partial.jsonl"
AS_IT_IS = "as pada does it"
DRAFTER = "qwen2.5-coder-0.5b-instruct"


@dataclass(frozen=True)
class Lever:
    """One change. Without a number of slots, ours is used."""

    params: dict[str, Any]
    n_slots: int | None = None
    """Number of slots and of callers. None: as many as ours."""
    ordered: bool = False
    """Whether requests with a common prefix follow each other."""
    change: Callable[[Replays], Sequence[Body]] = lambda found: found.bodies
    settings: EngineSettings | None = None
    """Settings instead of ours."""


class Measured(Record):
    """The result of one lever."""

    name: str
    per_minute: float
    baseline_per_minute: float
    """The last measurement of pada's own way before this lever."""
    n_requests: int
    n_computed: int
    n_written: int
    n_same: int
    """Number of answers with the same content as ours."""


def _flash(kind: str) -> dict[str, Any]:
    return {"flash_attn_type": f"llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_{kind}"}


def _guess(kind: str, **more: Any) -> dict[str, Any]:
    return {"speculative.types": [f"common_speculative_type.COMMON_SPECULATIVE_TYPE_{kind}"], **more}


EIGHT_BITS: dict[str, Any] = {"cache_type_k": "ggml_type.GGML_TYPE_Q8_0", "cache_type_v": "ggml_type.GGML_TYPE_Q8_0"}
UNIFIED: dict[str, Any] = {"kv_unified": True}

LEVERS: dict[str, Lever] = {
    "llama-server's defaults": Lever({}, settings=LLAMA_SERVER),
    "JSON without spaces": Lever({}, change=lambda found: [write_compact(body) for body in found.bodies]),
    "requests that begin alike in a row": Lever({}, ordered=True),
    "one cache for all slots, alike in a row": Lever(UNIFIED, ordered=True),
    "static paragraphs first, alike in a row": Lever(
        {}, ordered=True, change=lambda found: put_static_first(found.bodies, found.templates)
    ),
    "4 slots": Lever({}, n_slots=4),
    "16 slots": Lever({}, n_slots=16),
    "flash attention off": Lever(_flash("DISABLED")),
    "keys and values in 8 bits": Lever({**_flash("ENABLED"), **EIGHT_BITS}),
    "micro-batches of 128 tokens": Lever({"n_ubatch": 128}),
    "batches of 256 tokens": Lever({"n_batch": 256, "n_ubatch": 256}),
    "no schema": Lever({}, change=lambda found: [write_freely(body) for body in found.bodies]),
    "guesses from n-grams": Lever(
        _guess("NGRAM_SIMPLE", **{"speculative.ngram_simple.size_n": 4, "speculative.ngram_simple.size_m": 8})
    ),
    "guesses from the 0.5B model": Lever(_guess("DRAFT_SIMPLE", **{"speculative.draft.mparams.path": DRAFTER})),
    "OpenMP threads spin": Lever({}, settings=EngineSettings(n_slots=8, ours_waits=False)),
    "one thread writes, two prefill": Lever({"cpuparams.n_threads": 1, "cpuparams_batch.n_threads": 2}),
    "weights not repacked": Lever({"no_extra_bufts": True}),
}
"""Levers by what they change."""


def run(options: Options) -> Outcome:
    """Every lever that has not been measured yet, for 25 minutes at most or as long as the options say.

    Raises:
        ConfigError: the teacher is not on this machine.
    """
    found = open_replays(options, read_requests(N_REQUESTS, most_rows=MOST_ROWS))
    done = [] if options.quick or not PARTIAL.is_file() else read_json_lines(PARTIAL, Measured)
    for measured in sweep(found, min(options.minutes, MINUTES), {m.name for m in done}):
        done.append(measured)
        print(f"  {tell(measured)}: {measured.per_minute:.2f} requests/min", flush=True)
        if not options.quick:
            with PARTIAL.open("a", encoding="utf-8") as file:
                file.write(measured.model_dump_json() + "\n")
    missing = [name for name in LEVERS if name not in {m.name for m in done}]
    if not missing and not options.quick:
        PARTIAL.unlink()
    parity = "each line says how many answers have the same content"
    return Outcome(
        parity=parity + (f"; not measured yet: {', '.join(missing)}" if missing else ""), rows=list(map(to_row, done))
    )


def sweep(found: Replays, minutes: float, done: set[str]) -> Iterator[Measured]:
    """As many levers as there is time for, with ours measured again in between."""
    start, longest = time.perf_counter(), 0.0
    names = [name for name in LEVERS if name not in done]
    baseline: Replay | None = None
    for i, name in enumerate(names):
        began = time.perf_counter()
        if began - start + 2 * longest > 60 * minutes:
            return
        if i % LEVERS_PER_BASELINE == 0:
            before, baseline = baseline, pull(found, Lever({}))
            if before:
                yield describe(AS_IT_IS, baseline, before)
        assert baseline is not None
        try:
            replayed = pull(found, LEVERS[name])
        except PadaError as exc:
            print(f"  {name}: left out, {exc}", flush=True)
            continue
        yield describe(name, replayed, baseline)
        longest = max(longest, time.perf_counter() - began)


def pull(found: Replays, lever: Lever) -> Replay:
    """All requests with the lever, on a fresh engine."""
    n_slots = lever.n_slots or found.n_slots
    params = {name: _find_model(value) for name, value in lever.params.items()}
    ours = EngineSettings(n_slots=n_slots, context_tokens=found.context_tokens, params=params)
    bodies = list(lever.change(found))
    with serving(found.file, lever.settings or ours) as client:
        return replay(client, bodies, n_callers=n_slots, order=order_by_prefix(bodies) if lever.ordered else None)


def describe(name: str, replayed: Replay, baseline: Replay) -> Measured:
    pairs = list(zip(replayed.answers, baseline.answers, strict=True))
    return Measured(
        name=name,
        per_minute=replayed.per_minute,
        baseline_per_minute=baseline.per_minute,
        n_requests=len(pairs),
        n_computed=replayed.n_computed,
        n_written=replayed.n_written,
        n_same=sum(read_content(a.text) == read_content(b.text) for a, b in pairs),
    )


def read_content(text: str) -> object:
    """The JSON without its spaces. A text that was cut off is returned unchanged."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def tell(measured: Measured) -> str:
    return (
        f"{measured.name} ({measured.n_computed} tokens computed, {measured.n_written} written,"
        f" {measured.n_same} of {measured.n_requests} answers the same)"
    )


def to_row(measured: Measured) -> Comparison:
    ours, peer = [measured.per_minute], [measured.baseline_per_minute]
    return compare(tell(measured), ours, peer, peer_name=AS_IT_IS, unit="requests/min")


def _find_model(value: object) -> object:
    if value != DRAFTER:
        return value
    try:
        return str(model_store.resolve(DRAFTER))
    except PadaError as exc:
        raise BenchmarkError(f"needs `pada models pull {DRAFTER}` ({exc})") from exc
