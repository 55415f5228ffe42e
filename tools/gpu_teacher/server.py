"""An OpenAI-compatible chat server for one GPU: the teacher that llama.cpp otherwise runs on the CPU, from the same GGUF file.

    python -m tools.gpu_teacher.server FILE.gguf --port 8077

It needs torch, transformers with jinja2, gguf and llguidance. On CPU at temperature 0, it writes the same as transformers' `generate`.
"""

import argparse
import json
import logging
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import llguidance
import torch

from benchmarks.gguf_loading import close_file, count_tokens, read_config, read_model, read_tokenizer
from tools.gpu_teacher.batching import Engine, Row, Vocabulary, WritingError

WHITESPACE = r"( |\n{1,2}[ \t]{0,20})"
"""Whitespace between the tokens of JSON, as in llama.cpp's grammars. A model that may not write any departs from its habits."""

log = logging.getLogger("gpu_teacher")


class RequestError(ValueError):
    """A request that cannot be served: HTTP 400."""


@dataclass(frozen=True)
class Options:
    """How a Teacher works."""

    device: str
    """cuda (bf16) or cpu (fp32)."""
    max_rows: int = 96
    """Number of requests answered at once."""
    max_context: int = 3072
    """Tokens of prompt and answer together."""
    compact: bool = False
    """JSON without any whitespace."""
    seed: int = 0


class Teacher:
    """Answers requests to the endpoints."""

    def __init__(self, file: Path, options: Options) -> None:
        device = torch.device(options.device)
        self.name, self._max_context = file.stem, options.max_context
        self._json_style = {"whitespace_flexible": False} if options.compact else {"whitespace_pattern": WHITESPACE}
        # cuDNN's attention plans anew for each shape, and every step has another
        torch.backends.cuda.enable_cudnn_sdp(False)
        config = read_config(file)
        dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        with ThreadPoolExecutor(1) as pool:
            tokenizer = pool.submit(read_tokenizer, file)
            model = read_model(file, config, device=device, dtype=dtype)
            self._tokenizer: Any = tokenizer.result()
        self._tokenizing = threading.Lock()  # the tokenizers package forbids some uses at once
        ends = _find_ends(self._tokenizer, config)
        self._grammar_tokens = llguidance.LLTokenizer(
            self._tokenizer.backend_tokenizer.to_str(),
            n_vocab=max(config.vocab_size, len(self._tokenizer)),
            eos_token=sorted(ends),
        )
        vocabulary = Vocabulary(ends, n_tokens=count_tokens(file), n_masked=self._grammar_tokens.vocab_size)
        close_file()
        self.engine = Engine(model, vocabulary, max_rows=options.max_rows, seed=options.seed)

    def answer(self, body: Any) -> dict[str, Any]:
        """A chat completion.

        Raises:
            RequestError: the body asks for something that is not supported.
            WritingError: the model could not answer.
        """
        row = self._read_request(body)
        reason = self.engine.write(row)
        with self._tokenizing:
            text = self._tokenizer.decode(row.written, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        n_in, n_out = len(row.prompt), len(row.written)
        message = {"role": "assistant", "content": text}
        return {
            "id": f"chatcmpl-{uuid.uuid4().hex}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": self.name,
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": reason}],
            "usage": {"prompt_tokens": n_in, "completion_tokens": n_out, "total_tokens": n_in + n_out},
        }

    def _read_request(self, body: Any) -> Row:
        if not isinstance(body, dict) or not isinstance(body.get("messages"), list) or not body["messages"]:
            raise RequestError("the body has to be an object with messages")
        if not all(isinstance(m, dict) and isinstance(m.get("content"), str) for m in body["messages"]):
            raise RequestError("each message has to be an object whose content is a text")
        if body.get("stream"):
            raise RequestError("stream is not supported")
        try:
            temperature = float(body["temperature"]) if body.get("temperature") is not None else 0.8
            limits = [body[key] for key in ("max_completion_tokens", "max_tokens") if body.get(key) is not None]
            max_tokens = int(limits[0]) if limits else self._max_context
        except (TypeError, ValueError) as exc:
            raise RequestError(f"temperature and max_tokens have to be numbers: {exc}") from exc
        prompt = self._encode(body["messages"])
        room = self._max_context - len(prompt)
        if room < 1:
            raise RequestError(f"the prompt has {len(prompt)} tokens; the context holds {self._max_context}")
        if max_tokens < 1 or temperature < 0:
            raise RequestError(f"max_tokens is {max_tokens}, temperature {temperature}; at least 1 and 0 are needed")
        return Row(prompt, min(max_tokens, room), temperature, self._make_matcher(body.get("response_format")))

    def _encode(self, messages: list[Any]) -> list[int]:
        try:
            with self._tokenizing:
                ids = self._tokenizer.apply_chat_template(
                    messages, add_generation_prompt=True, tokenize=True, return_dict=False
                )
        except Exception as exc:
            raise RequestError(f"the chat template refuses the messages: {exc}") from exc
        return [int(token) for token in ids]

    def _make_matcher(self, response_format: Any) -> Any:
        """None for plain text."""
        if response_format is None or response_format == {"type": "text"}:
            return None
        try:
            schema = response_format["json_schema"]["schema"]
            grammar = llguidance.LLMatcher.grammar_from_json_schema(schema, defaults=self._json_style)
        except (TypeError, KeyError, ValueError) as exc:
            raise RequestError(f"response_format has to be absent or a json_schema: {exc!r}") from exc
        matcher = llguidance.LLMatcher(self._grammar_tokens, grammar)
        if matcher.is_error():
            raise RequestError(f"the schema cannot be used: {matcher.get_error()}")
        return matcher


def _find_ends(tokenizer: Any, config: Any) -> frozenset[int]:
    """Tokens that end an answer."""
    named = config.eos_token_id
    vocabulary = tokenizer.get_vocab()
    ends = {vocabulary[token] for token in ("<|im_end|>", "<|endoftext|>") if token in vocabulary}
    ends |= set(named if isinstance(named, list) else [named]) | {tokenizer.eos_token_id}
    return frozenset(int(end) for end in ends if end is not None)


class Handler(BaseHTTPRequestHandler):
    """HTTP around a Teacher."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: "TeacherServer"

    def do_GET(self) -> None:
        if self.path == "/health":
            n_rows, n_waiting = self.server.teacher.engine.load
            self._send(200, {"status": "ok", "rows": n_rows, "waiting": n_waiting})
        elif self.path == "/v1/models":
            model = {"id": self.server.teacher.name, "object": "model", "created": 0, "owned_by": "gpu_teacher"}
            self._send(200, {"object": "list", "data": [model]})
        else:
            self._refuse(404, f"no such path: {self.path}")

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path != "/v1/chat/completions":
            self._refuse(404, f"no such path: {self.path}")
            return
        try:
            answer = self.server.teacher.answer(json.loads(content))
        except ValueError as exc:  # with RequestError, and content that is no JSON
            self._refuse(400, str(exc))
        except WritingError as exc:
            self._refuse(500, str(exc))
        except Exception as exc:
            log.exception("a request failed")
            self._refuse(500, f"{type(exc).__name__}: {exc}")
        else:
            self._send(200, answer)

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing, because a line per request would bury the errors."""

    def _refuse(self, status: int, message: str) -> None:
        kind = "invalid_request_error" if status < 500 else "server_error"
        self._send(status, {"error": {"message": message, "type": kind, "code": status}})

    def _send(self, status: int, body: dict[str, Any]) -> None:
        content = json.dumps(body).encode()
        try:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
        except ConnectionError:
            self.close_connection = True  # the client has gone


class TeacherServer(ThreadingHTTPServer):
    """A server with a thread per connection. Port 0 takes a free one."""

    request_queue_size = 256
    daemon_threads = True

    def __init__(self, teacher: Teacher, port: int) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.teacher = teacher


def main() -> None:
    """Load the model, answer once to warm up, then serve until interrupted."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--port", type=int, default=8077)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--max-rows", type=int, default=Options.max_rows, help="requests written at once")
    parser.add_argument("--max-context", type=int, default=Options.max_context, help="tokens of prompt and answer")
    parser.add_argument("--compact", action="store_true", help="JSON without any whitespace")
    parser.add_argument("--seed", type=int, default=Options.seed)
    given = vars(parser.parse_args())
    file, port = given.pop("file"), given.pop("port")
    logging.basicConfig(format="%(asctime)s %(name)s %(levelname)s %(message)s")
    started = time.monotonic()
    teacher = Teacher(file.resolve(), Options(**given))
    server = TeacherServer(teacher, port)
    hello = {"type": "json_schema", "json_schema": {"name": "hello", "schema": {"type": "string", "maxLength": 8}}}
    teacher.answer({"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 8, "response_format": hello})
    url = f"http://127.0.0.1:{server.server_port}/v1"
    print(f"ready {url} after {time.monotonic() - started:.1f} s", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
