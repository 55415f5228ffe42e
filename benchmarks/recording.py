"""LLM calls of a real run: answers to be replayed with their latencies (C4), or requests to be asked again (C6).

python -m benchmarks.recording runs/demo > benchmarks/recordings/demo.jsonl
python -m benchmarks.recording runs/demo requests > benchmarks/recordings/demo_requests.jsonl
"""

import json
import sqlite3
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from benchmarks.measuring import BenchmarkError
from pada_agent.app.adapters.llm.places import Places
from pada_agent.app.adapters.llm.response_cache import ResponseCache, call_key
from pada_agent.core.chat import ChatReply, ChatRequest, Message
from pada_agent.core.json_lines import read_json_lines
from pada_agent.core.records import Record, Usage

ANALYSIS = ("error_analysis", "pattern_categorization", "strategy_drafting")
"""Prompts of the analyst, whose calls get a place before others, as in a run."""


class RecordedCall(Record):
    """One answer and how long it took."""

    prompt: str
    """Template name."""
    batch: str
    """Empty for calls outside batches."""
    seconds: float
    output_tokens: int
    text: str


Choose = Callable[[ChatRequest, str], RecordedCall]
"""Chooses the recorded answer for a request and its key."""


def record(ledger: Path) -> list[RecordedCall]:
    """The calls in a run's `llm_calls.sqlite`, in the order in which they were made."""
    with closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as db, db:
        rows = db.execute("SELECT tags, seconds, output_tokens, reply FROM calls ORDER BY started").fetchall()
    calls = []
    for tags, seconds, output_tokens, text in rows:
        found = json.loads(tags)
        calls.append(
            RecordedCall(
                prompt=found["prompt"],
                batch=found.get("batch", ""),
                seconds=round(seconds, 2),
                output_tokens=output_tokens,
                text=text,
            )
        )
    return calls


def record_requests(ledger: Path) -> list[ChatRequest]:
    """The distinct requests in a run's `llm_calls.sqlite`, in the order in which they were made, at temperature 0.

    Prompts that were sent again, because of another draw or refused rows, count once.
    """
    with closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as db, db:
        rows = db.execute("SELECT tags, request FROM calls ORDER BY started").fetchall()
    requests: dict[tuple[Message, ...], ChatRequest] = {}
    for tags, text in rows:
        asked, found = ChatRequest.model_validate_json(text), json.loads(tags)
        kept = {name: found[name] for name in ("prompt", "batch") if name in found}
        plain = asked.model_copy(update={"temperature": 0.0, "draw": "", "attempt": 0, "tags": kept})
        requests.setdefault(asked.messages, plain)
    return list(requests.values())


def read(path: Path) -> list[RecordedCall]:
    return read_json_lines(path, RecordedCall)


class ReplayingModel:
    """A `LanguageModel` that waits as long as the recorded call took, times `pace`, and returns its answer.

    Equal requests always get equal answers: those of a recorded call with the same template and, if possible, the same batch; or
    what `choose` returns for request and key. Calls go through the run's ledger like real ones; `on_call` gets the key of each
    that is not in it.
    """

    name = "replay"

    def __init__(
        self,
        calls: Sequence[RecordedCall],
        cache: ResponseCache,
        *,
        pace: float,
        n_at_once: int,
        on_call: Callable[[str], None] = lambda _: None,
        choose: Choose | None = None,
    ) -> None:
        self._calls = calls
        self._cache = cache
        self._pace = pace
        self._places = Places(n_at_once)
        self._on_call = on_call
        self._choose = choose or self._choose_alike

    def complete(self, request: ChatRequest) -> ChatReply:
        key = call_key(self.name, request)
        if cached := self._cache.get(key):
            return cached
        with self._places.take(0 if request.tags["prompt"] in ANALYSIS else 1):
            self._on_call(key)
            started, call = time.time(), self._choose(request, key)
            time.sleep(call.seconds * self._pace)
            reply = ChatReply(text=call.text, usage=Usage(n_calls=1, output_tokens=call.output_tokens), key=key)
            self._cache.put(
                reply, request, model=self.name, role="replay", started=started, seconds=time.time() - started
            )
        return reply

    def close(self) -> None:
        """Nothing to release."""

    def _choose_alike(self, request: ChatRequest, key: str) -> RecordedCall:
        alike = [call for call in self._calls if call.prompt == request.tags["prompt"]]
        of_batch = [call for call in alike if call.batch and call.batch == request.tags.get("batch")]
        if not alike:
            raise BenchmarkError(f"the recording has no call of {request.tags['prompt']}: switch off what needs it")
        candidates = of_batch or alike
        return candidates[int(key[:8], 16) % len(candidates)]


if __name__ == "__main__":
    find = record_requests if sys.argv[2:] == ["requests"] else record
    for recorded in find(Path(sys.argv[1]) / "llm_calls.sqlite"):
        print(recorded.model_dump_json())
