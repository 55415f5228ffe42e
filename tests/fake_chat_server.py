"""An OpenAI-compatible server on a loopback port that answers by script and fails when the script runs out."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any


@dataclass(frozen=True)
class Answer:
    """One HTTP answer."""

    body: str
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


def completion(text: str, *, finish_reason: str = "stop", usage: bool = True) -> Answer:
    """A chat completion; 7 tokens in, 3 out."""
    body: dict[str, Any] = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 0,
        "model": "fake",
        "choices": [{"index": 0, "finish_reason": finish_reason, "message": {"role": "assistant", "content": text}}],
    }
    if usage:
        body["usage"] = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    return Answer(json.dumps(body))


def refusal(status: int, message: str, **headers: str) -> Answer:
    """An error as OpenAI words it."""
    return Answer(json.dumps({"error": {"message": message, "type": "error", "code": None}}), status, headers)


@dataclass
class FakeChatServer:
    """Where it listens and what it was asked."""

    url: str
    requests: list[dict[str, Any]]
    headers: list[dict[str, str]]
    paths: list[str] = field(default_factory=list)


@contextmanager
def serve(answers: Sequence[Answer], pages: Mapping[str, Answer] | None = None) -> Iterator[FakeChatServer]:
    """Give the answers in order, then HTTP 418; to GET, the page of the path, or HTTP 404."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    fake = FakeChatServer(f"http://127.0.0.1:{server.server_address[1]}/v1", [], [])
    lock = Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            with lock:
                fake.requests.append(asked)
                fake.paths.append(self.path)
                fake.headers.append({key.lower(): value for key, value in self.headers.items()})
                n = len(fake.requests)
            answer = answers[n - 1] if n <= len(answers) else refusal(418, "the script is over")
            self._send(answer)

        def do_GET(self) -> None:
            self._send((pages or {}).get(self.path) or Answer("404 page not found", 404))

        def _send(self, answer: Answer) -> None:
            body = answer.body.encode()
            self.send_response(answer.status)
            self.send_header("content-type", answer.headers.get("content_type", "application/json"))
            self.send_header("content-length", str(len(body)))
            for name, value in {k: v for k, v in answer.headers.items() if k != "content_type"}.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server.RequestHandlerClass = Handler
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
