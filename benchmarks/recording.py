"""LLM calls of a real run, to be replayed with their latencies.

python -m benchmarks.recording runs/demo > benchmarks/recordings/demo.jsonl
"""

import json
import sqlite3
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import BoundedSemaphore

from pada_agent.app.adapters.llm.response_cache import ResponseCache, call_key
from pada_agent.core.chat import ChatReply, ChatRequest
from pada_agent.core.json_lines import read_json_lines
from pada_agent.core.records import Record, Usage


class RecordedCall(Record):
    """One answer and how long it took."""

    prompt: str
    """Template name."""
    batch: str
    """Empty for calls that belong to no batch."""
    seconds: float
    output_tokens: int
    text: str


def record(ledger: Path) -> list[RecordedCall]:
    """The calls in a run's `llm_calls.sqlite`, in the order in which they were made."""
    with sqlite3.connect(f"file:{ledger}?mode=ro", uri=True) as db:
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


def read(path: Path) -> list[RecordedCall]:
    return read_json_lines(path, RecordedCall)


class ReplayingModel:
    """A `LanguageModel` that waits as long as the recorded call took, times `pace`, and gives its answer.

    Equal requests get equal answers, whenever they come: a recorded call of the same template, of the same batch where
    there is one. Calls go through the run's ledger as real ones do; `on_call` is told the key of each that is not in it.
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
    ) -> None:
        self._calls = calls
        self._cache = cache
        self._pace = pace
        self._slots = BoundedSemaphore(n_at_once)
        self._on_call = on_call

    def complete(self, request: ChatRequest) -> ChatReply:
        key = call_key(self.name, request)
        if cached := self._cache.get(key):
            return cached
        with self._slots:
            self._on_call(key)
            started, call = time.time(), self._choose(request, key)
            time.sleep(call.seconds * self._pace)
            reply = ChatReply(text=call.text, usage=Usage(n_calls=1, output_tokens=call.output_tokens), key=key)
            self._cache.put(
                reply, request, model=self.name, role="replay", started=started, seconds=time.time() - started
            )
        return reply

    def close(self) -> None:
        """Nothing to let go of."""

    def _choose(self, request: ChatRequest, key: str) -> RecordedCall:
        alike = [call for call in self._calls if call.prompt == request.tags["prompt"]]
        of_batch = [call for call in alike if call.batch and call.batch == request.tags.get("batch")]
        candidates = of_batch or alike
        return candidates[int(key[:8], 16) % len(candidates)]


if __name__ == "__main__":
    for recorded in record(Path(sys.argv[1]) / "llm_calls.sqlite"):
        print(recorded.model_dump_json())
