"""A provider with batches on a loopback port: OpenAI's files and batches, and Anthropic's Message Batches."""

import json
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.openai_server import answer_in_form, make_completion

Body = dict[str, Any]
Answer = Callable[[Body], tuple[int, Body]]
"""What a call's body is answered with: HTTP status and body."""
LOST = 0
"""In `faults`: the request is carried out, and the connection ends without an answer. Below: answered with that status all the same."""


@dataclass
class Batch:
    """A batch as the server holds it."""

    id: str
    calls: dict[str, Body]
    created: float
    metadata: Body
    status: str = "in_progress"
    """The state in OpenAI's words; `ended` is Anthropic's for `completed`."""


@dataclass
class BatchServer:
    """What it was asked, and how it behaves."""

    answer: Answer
    address: str = ""
    batches: dict[str, Batch] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    ordinary: list[Body] = field(default_factory=list)
    """Calls that came by themselves."""
    headers: list[dict[str, str]] = field(default_factory=list)
    n_polls: Counter[str] = field(default_factory=Counter)
    polls_needed: int = 2
    """Until a batch is over."""
    released: threading.Event = field(default_factory=threading.Event)
    """Unset: no batch is ever over."""
    ends_as: str = "completed"
    unanswered: Callable[[Body], str | None] = lambda _: None
    """Why a call gets no answer in its batch: `expired`, `canceled`."""
    failure: Body | None = None
    """Of a batch that ends as `failed`."""
    queue: int | None = None
    """Calls that may wait at the same time. A batch with more fails."""
    faults: defaultdict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    """Statuses to send, by `METHOD first-segments`, before a request is answered as it should be."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def submitted(self) -> Counter[str]:
        """How often each call was sent in a batch, by its body."""
        with self.lock:
            bodies = [body for batch in self.batches.values() for body in batch.calls.values()]
        return Counter(json.dumps(body, sort_keys=True) for body in bodies)


@contextmanager
def serving_batches(answer: Answer | None = None, **behavior: Any) -> Iterator[BatchServer]:
    """Serve until the block ends; without `answer`, completions of a teacher that always answers in form."""
    state = BatchServer(answer or complete_in_form, **behavior)
    state.released.set()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _make_handler(state))
    state.address = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()


def complete_in_form(body: Body) -> tuple[int, Body]:
    """As OpenAI's chat completions do."""
    return 200, make_completion(answer_in_form(_prompt(body)))


def message_in_form(body: Body) -> tuple[int, Body]:
    """As Anthropic's messages do."""
    return 200, make_message(answer_in_form(_prompt(body)))


def make_message(text: str) -> Body:
    usage = {"input_tokens": 10, "output_tokens": 5}
    told = {"id": "m", "type": "message", "role": "assistant", "model": "toy", "stop_sequence": None}
    return told | {"content": [{"type": "text", "text": text}], "stop_reason": "end_turn", "usage": usage}


def _prompt(body: Body) -> str:
    return str(next(m["content"] for m in body["messages"] if m["role"] == "user"))


def _make_handler(state: BatchServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            data = self.rfile.read(int(self.headers["content-length"]))
            self._respond("POST", lambda: self._post(data))

        def do_GET(self) -> None:
            self._respond("GET", self._get)

        def _respond(self, method: str, work: Callable[[], tuple[int, Any]]) -> None:
            with state.lock:
                state.headers.append({name.lower(): value for name, value in self.headers.items()})
                faults = state.faults[f"{method} {urlsplit(self.path).path}"]
                fault = faults.pop(0) if faults else None
                if fault is None or fault <= LOST:
                    status, value = work()
            if fault is None:
                self._send(status, value)
            elif fault == LOST:
                self.close_connection = True
            else:
                self._send(abs(fault), {"error": {"message": f"fault {abs(fault)}"}})

        def _post(self, data: bytes) -> tuple[int, Any]:
            path = urlsplit(self.path).path
            if path == "/v1/files":
                text = data.split(b"application/jsonl\r\n\r\n", 1)[1].split(b"\r\n--", 1)[0].decode()
                name = f"file-{len(state.files)}"
                state.files[name] = text
                return 200, {"id": name, "object": "file"}
            asked = json.loads(data)
            if path == "/v1/batches":
                assert (asked["endpoint"], asked["completion_window"]) == ("/v1/chat/completions", "24h")
                lines = [json.loads(line) for line in state.files[asked["input_file_id"]].split("\n") if line]
                assert all((line["method"], line["url"]) == ("POST", asked["endpoint"]) for line in lines)
                calls = {line["custom_id"]: line["body"] for line in lines}
                return 200, self._describe(self._add(calls, asked.get("metadata") or {}))
            if path == "/v1/messages/batches":
                calls = {request["custom_id"]: request["params"] for request in asked["requests"]}
                assert all(0 < len(key) <= 64 for key in calls)
                return 200, self._describe(self._add(calls, {}))
            if path in ("/v1/chat/completions", "/v1/messages"):
                state.ordinary.append(asked)
                return state.answer(asked)
            return 404, {"error": {"message": "no such path"}}

        def _get(self) -> tuple[int, Any]:
            parts = urlsplit(self.path).path.strip("/").split("/")[1:]
            if parts in (["batches"], ["messages", "batches"]):
                return 200, self._list(parse_qs(urlsplit(self.path).query))
            if parts[0] == "files":
                return (200, state.files[parts[1]]) if parts[1] in state.files else (404, {})
            batch = state.batches.get(parts[parts.index("batches") + 1])
            if batch is None:
                return 404, {"error": {"message": "no such batch"}}
            if parts[-1] == "results":
                return 200, "".join(json.dumps(self._result(key, call)) + "\n" for key, call in batch.calls.items())
            state.n_polls[batch.id] += 1
            waits = batch.status == "in_progress"
            if waits and state.released.is_set() and state.n_polls[batch.id] >= state.polls_needed:
                batch.status = state.ends_as
            return 200, self._describe(batch)

        def _add(self, calls: dict[str, Body], metadata: Body) -> Batch:
            batch = Batch(f"batch-{len(state.batches)}", calls, time.time(), metadata)
            n_waiting = sum(len(other.calls) for other in state.batches.values() if other.status == "in_progress")
            if state.queue is not None and n_waiting + len(calls) > state.queue:
                batch.status = "failed"
            state.batches[batch.id] = batch
            return batch

        def _list(self, query: dict[str, list[str]]) -> Body:
            """One a page, so that pages are turned."""
            after = (query.get("after") or query.get("after_id") or [None])[0]
            newest = list(reversed(state.batches.values()))
            rest = newest[[batch.id for batch in newest].index(after) + 1 :] if after else newest
            page = [self._describe(batch) for batch in rest[:1]]
            return {"data": page, "has_more": len(rest) > 1, "last_id": page[-1]["id"] if page else None}

        def _describe(self, batch: Batch) -> Body:
            n, is_over = len(batch.calls), batch.status != "in_progress"
            if "/messages/" in self.path:
                counts = {"processing": 0 if is_over else n, "succeeded": n if is_over else 0}
                made = datetime.fromtimestamp(batch.created, UTC).isoformat()
                status = "ended" if is_over else "in_progress"
                return {"id": batch.id, "processing_status": status, "created_at": made, "request_counts": counts}
            told: Body = {"id": batch.id, "object": "batch", "status": batch.status, "created_at": int(batch.created)}
            told |= {"metadata": batch.metadata, "request_counts": {"total": n, "completed": n if is_over else 0}}
            if batch.status == "failed":
                return told | {"errors": {"data": [state.failure or {}]}}
            return told | (self._write_files(batch) if is_over else {})

        def _write_files(self, batch: Batch) -> Body:
            lines = [self._line(key, call) for key, call in batch.calls.items()]
            good = [line for line in lines if line and line["response"] and line["response"]["status_code"] == 200]
            bad = [line for line in lines if line and line not in good]
            ids = {}
            for kind, part in (("output", good), ("error", bad)):
                if part:
                    ids[f"{kind}_file_id"] = f"{kind}-{batch.id}"
                    state.files[f"{kind}-{batch.id}"] = "".join(json.dumps(line) + "\n" for line in part)
            return ids

        def _line(self, key: str, call: Body) -> Body | None:
            """OpenAI's form of a result; cancelled calls have none."""
            why = state.unanswered(call)
            if why == "canceled":
                return None
            if why:
                return {"custom_id": key, "response": None, "error": {"code": "batch_expired", "message": "late"}}
            status, body = state.answer(call)
            return {"custom_id": key, "response": {"status_code": status, "body": body}, "error": None}

        def _result(self, key: str, call: Body) -> Body:
            """Anthropic's form of a result."""
            if why := state.unanswered(call):
                return {"custom_id": key, "result": {"type": why}}
            status, body = state.answer(call)
            if status == 200:
                return {"custom_id": key, "result": {"type": "succeeded", "message": body}}
            return {"custom_id": key, "result": {"type": "errored", "error": body}}

        def _send(self, status: int, value: Any) -> None:
            body = value.encode() if isinstance(value, str) else json.dumps(value).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            try:
                self.wfile.write(body)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True  # the client was killed

        def log_message(self, *_: object) -> None: ...

    return Handler
