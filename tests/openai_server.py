"""An OpenAI-compatible server on a loopback port: answers in form, counts every request."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from pada_agent.core.ports import ChatRequest, Message
from tests.toy_world import teach

TEMPLATE_PHRASES = {
    "error_analysis": "You find out why",
    "pattern_categorization": "were found to be alike",
    "strategy_drafting": "Draft one data generation strategy",
    "training_error_generation": "still answers them wrongly",
    "pattern_guided_generation": "For each row write one new example",
    "quality_control": "You rate training examples",
}


@dataclass
class CountingServer:
    """What the teacher was asked over HTTP."""

    url: str = ""
    asked: Counter[str] = field(default_factory=Counter)
    """By request body."""
    prompts: list[str] = field(default_factory=list)
    """Template names in the order of arrival."""
    keys: set[str] = field(default_factory=set)
    """What came as authorization."""


@contextmanager
def serving(
    *, delay_seconds: float = 0.05, answer: Callable[[str], str] | None = None, status: int = 200, port: int = 0
) -> Iterator[CountingServer]:
    """Serve until the block ends; `answer` replaces the teacher that always answers in form.

    With another `status` every request is refused, in words that repeat its key.
    """
    counted, reply = CountingServer(), answer or answer_in_form

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            prompt = json.loads(body)["messages"][-1]["content"]
            counted.asked[body] += 1
            counted.prompts.append(recognise(prompt))
            counted.keys.add(self.headers["authorization"])
            time.sleep(delay_seconds)
            refused = {"error": {"message": f"not for {self.headers['authorization']}"}}
            self.send(json.dumps(make_completion(reply(prompt)) if status == 200 else refused).encode())

        def send(self, body: bytes) -> None:
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
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


def recognise(prompt: str) -> str:
    """The template a prompt was rendered from."""
    return next(name for name, phrase in TEMPLATE_PHRASES.items() if phrase in prompt)


def answer_in_form(prompt: str) -> str:
    """As `teach`, from the prompt alone."""
    request = ChatRequest(
        messages=(Message(role="user", content=prompt),), tags={"prompt": recognise(prompt)}, draw=prompt
    )
    return teach(request)


def make_completion(text: str) -> dict[str, object]:
    message = {"role": "assistant", "content": text}
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return {"id": "x", "object": "chat.completion", "created": 0, "model": "toy", "choices": [choice], "usage": usage}
