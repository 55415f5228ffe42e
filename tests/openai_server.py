"""An OpenAI-compatible server on a loopback port: answers in form, counts every request."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from pada_agent.core.chat import ChatRequest, Message
from tests.toy_world import teach

TEMPLATE_PHRASES = {
    "error_analysis": "answered the questions below wrongly. Find out why",
    "pattern_categorization": "similar mistakes of a small language model",
    "strategy_drafting": "For each kind, write a strategy",
    "training_error_generation": "need the same skill, with their correct answers",
    "contrast_generation": "new questions that turn on just that",
    "similar_item_generation": "The old questions below are hard for it",
    "question_wording": "You word questions for training examples",
    "rephrasing": "You rewrite training examples",
    "pattern_guided_generation": 'Strategy "',
    "quality_control": "You rate training examples",
    "answer_solving": "You answer questions on your own",
    "probe": "This is a test of the connection",
}


class Refusal(Exception):
    """Raised by an answer function: the HTTP status to send in place of an answer."""

    def __init__(self, status: int, headers: dict[str, str] | None = None) -> None:
        super().__init__(f"HTTP {status}")
        self.status, self.headers = status, headers or {}


def refuse(status: int) -> Callable[[str], str]:
    """A teacher that refuses every request."""

    def answer(_: str) -> str:
        raise Refusal(status)

    return answer


@dataclass
class CountingServer:
    """What the teacher was asked over HTTP."""

    url: str = ""
    delay_seconds: float = 0.0
    """Before each answer; may be changed between calls."""
    asked: Counter[str] = field(default_factory=Counter)
    """By request body."""
    prompts: list[str] = field(default_factory=list)
    """Template names in the order of arrival."""
    keys: set[str] = field(default_factory=set)
    """What came as authorization."""


@contextmanager
def serving(
    *, delay_seconds: float = 0.05, answer: Callable[[str], str] | None = None, port: int = 0
) -> Iterator[CountingServer]:
    """Serve until the block ends; `answer` replaces the teacher that always answers in form.

    A `Refusal` that it raises is sent in words that repeat the request's key.
    """
    counted, reply = CountingServer(delay_seconds=delay_seconds), answer or answer_in_form

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            prompt = next(m["content"] for m in json.loads(body)["messages"] if m["role"] == "user")
            counted.asked[body] += 1
            counted.prompts.append(recognize(prompt))
            counted.keys.add(self.headers["authorization"])
            time.sleep(counted.delay_seconds)
            try:
                self.send(200, {}, make_completion(reply(prompt)))
            except Refusal as refusal:
                self.send(
                    refusal.status, refusal.headers, {"error": {"message": f"not for {self.headers['authorization']}"}}
                )

        def send(self, status: int, headers: dict[str, str], value: dict[str, object]) -> None:
            body = json.dumps(value).encode()
            self.send_response(status)
            for name, text in {**headers, "content-type": "application/json", "content-length": str(len(body))}.items():
                self.send_header(name, text)
            self.end_headers()
            try:
                self.wfile.write(body)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True  # the client was killed

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    counted.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield counted
    finally:
        server.shutdown()
        server.server_close()


def recognize(prompt: str) -> str:
    """The template a prompt was rendered from."""
    return next(name for name, phrase in TEMPLATE_PHRASES.items() if phrase in prompt)


def answer_in_form(prompt: str) -> str:
    """As `teach`, from the prompt alone."""
    request = ChatRequest(
        messages=(Message(role="user", content=prompt),), tags={"prompt": recognize(prompt)}, draw=prompt
    )
    return teach(request)


def make_completion(text: str) -> dict[str, object]:
    message = {"role": "assistant", "content": text}
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return {"id": "x", "object": "chat.completion", "created": 0, "model": "toy", "choices": [choice], "usage": usage}
