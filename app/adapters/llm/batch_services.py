"""Sends and reads batches: OpenAI's Batch API and Anthropic's Message Batches."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, Protocol

import httpx
from langchain_core.messages import AIMessage
from langchain_core.messages.ai import InputTokenDetails, UsageMetadata

from pada_agent.app.adapters.llm.clients import OpenAIClient, sends_temperature
from pada_agent.core.chat import ChatRequest
from pada_agent.core.model_config import ModelConfig

EXPIRED, CANCELLED = 408, 499
"""HTTP statuses that we give to calls of a batch that was not finished in time, or that somebody cancelled."""
QUEUE_FULL = 429
"""The same for a batch that is more than the provider's queue takes, alone or beside those that are there."""
PAGE = 100
"""Number of batches listed at once."""
CLOCK_SECONDS = 300
"""Maximum difference between the provider's clock and ours."""
_ANTHROPIC_STATUS = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "overloaded_error": 529,
}


class BatchResult(NamedTuple):
    """The answer to one call of a batch, as HTTP would have returned it."""

    status: int
    body: Any


class BatchState(NamedTuple):
    """How far a batch has come."""

    status: str
    """In the provider's own word."""
    done: int
    """Number of finished calls."""
    is_over: bool
    raw: Mapping[str, Any]


class BatchFailedError(Exception):
    """The provider accepted a batch but then ran none of its calls."""

    def __init__(self, result: BatchResult) -> None:
        super().__init__("the batch failed")
        self.result = result


class BatchService(Protocol):
    """A provider's batches over HTTP. All methods let `httpx.HTTPError` pass."""

    def connect(self) -> httpx.Client: ...

    def make_body(self, request: ChatRequest, refused: frozenset[str]) -> dict[str, Any]:
        """The body of the call, as it would be sent on its own."""
        ...

    def submit(self, http: httpx.Client, token: str, bodies: Mapping[str, dict[str, Any]]) -> str:
        """Send the calls under their own ids. Returns the batch's id."""
        ...

    def poll(self, http: httpx.Client, batch_id: str) -> BatchState: ...

    def fetch(self, http: httpx.Client, state: BatchState) -> tuple[dict[str, BatchResult], BatchResult]:
        """Results of a finished batch by call id, and the result for calls that it does not mention.

        Raises:
            BatchFailedError: none of its calls was run.
        """
        ...

    def find(self, http: httpx.Client, token: str, *, n: int, at: float) -> list[str]:
        """Ids of batches that may be the one with `n` calls that was sent at Unix second `at` without getting an answer."""
        ...

    def read(self, body: Any) -> AIMessage:
        """The message of a successful result.

        Raises:
            LookupError, TypeError, ValueError: it is not a completion.
        """
        ...


@dataclass(frozen=True)
class _Service:
    """What both services have in common."""

    config: ModelConfig
    name: str
    """The model's name at the provider."""
    url: str
    headers: Mapping[str, str] = field(repr=False)

    def connect(self) -> httpx.Client:
        # A redirect could lead past the hosts that a server allows.
        return httpx.Client(
            base_url=self.url,
            headers=self.headers,
            timeout=self.config.timeout_seconds,
            follow_redirects=False,
        )


@dataclass(frozen=True)
class OpenAIBatches(_Service):
    """`/files` and `/batches`, below the same address as `/chat/completions`."""

    client: Callable[[], OpenAIClient]

    def make_body(self, request: ChatRequest, refused: frozenset[str]) -> dict[str, Any]:
        messages = [message.model_dump() for message in request.messages]
        body = {"model": self.name, "messages": messages, **self.client().make_body(request, refused)}
        return body | ({"temperature": request.temperature} if sends_temperature(self.config, refused) else {})

    def submit(self, http: httpx.Client, token: str, bodies: Mapping[str, dict[str, Any]]) -> str:
        url = "/v1/chat/completions"
        lines = [{"custom_id": key, "method": "POST", "url": url, "body": body} for key, body in bodies.items()]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        file = {"file": (f"{token}.jsonl", text.encode(), "application/jsonl")}
        uploaded = _json(http.post("files", files=file, data={"purpose": "batch"}))
        asked = {"input_file_id": uploaded["id"], "endpoint": url, "completion_window": "24h"}
        return str(_json(http.post("batches", json=asked | {"metadata": {"pada_batch": token}}))["id"])

    def poll(self, http: httpx.Client, batch_id: str) -> BatchState:
        raw = _json(http.get(f"batches/{batch_id}"))
        counts = raw.get("request_counts") or {}
        status = str(raw["status"])
        done = int(counts.get("completed", 0)) + int(counts.get("failed", 0))
        return BatchState(status, done, status in ("completed", "failed", "expired", "cancelled"), raw)

    def fetch(self, http: httpx.Client, state: BatchState) -> tuple[dict[str, BatchResult], BatchResult]:
        if state.status == "failed":
            raise BatchFailedError(_read_failure(state.raw))
        results: dict[str, BatchResult] = {}
        for name in ("output_file_id", "error_file_id"):
            if file := state.raw.get(name):
                results |= dict(map(_read_openai_line, _lines(http.get(f"files/{file}/content"))))
        cancelled = state.status == "cancelled"
        return results, _say(CANCELLED if cancelled else EXPIRED, f"no answer: the batch is {state.status}")

    def find(self, http: httpx.Client, token: str, *, n: int, at: float) -> list[str]:
        del n
        for batch in _list_batches(http, "batches", "after", since=at):
            if (batch.get("metadata") or {}).get("pada_batch") == token:
                return [str(batch["id"])]
        return []

    def read(self, body: Any) -> AIMessage:
        choice = body["choices"][0]
        message, used = choice["message"], body.get("usage") or {}
        n_cached = (used.get("prompt_tokens_details") or {}).get("cached_tokens")
        return AIMessage(
            content=message.get("content") or "",
            additional_kwargs={"refusal": message["refusal"]} if message.get("refusal") else {},
            response_metadata={"finish_reason": choice.get("finish_reason")},
            usage_metadata=_count(
                used.get("prompt_tokens"), used.get("completion_tokens"), used.get("total_tokens"), n_cached
            ),
        )


@dataclass(frozen=True)
class AnthropicBatches(_Service):
    """`/v1/messages/batches`."""

    def make_body(self, request: ChatRequest, refused: frozenset[str]) -> dict[str, Any]:
        turns = [message.model_dump() for message in request.messages if message.role != "system"]
        system = "\n\n".join(message.content for message in request.messages if message.role == "system")
        body: dict[str, Any] = {"model": self.name, "max_tokens": request.max_output_tokens, "messages": turns}
        body |= {"system": system} if system else {}
        body |= {"temperature": request.temperature} if sends_temperature(self.config, refused) else {}
        return body | self.config.extra

    def submit(self, http: httpx.Client, token: str, bodies: Mapping[str, dict[str, Any]]) -> str:
        del token  # there is no place for it
        requests = [{"custom_id": key, "params": body} for key, body in bodies.items()]
        return str(_json(http.post("v1/messages/batches", json={"requests": requests}))["id"])

    def poll(self, http: httpx.Client, batch_id: str) -> BatchState:
        raw = _json(http.get(f"v1/messages/batches/{batch_id}"))
        counts = {name: int(count) for name, count in (raw.get("request_counts") or {}).items()}
        status = str(raw["processing_status"])
        return BatchState(status, sum(counts.values()) - counts.get("processing", 0), status == "ended", raw)

    def fetch(self, http: httpx.Client, state: BatchState) -> tuple[dict[str, BatchResult], BatchResult]:
        # Not its `results_url`: the key would go wherever that leads.
        lines = _lines(http.get(f"v1/messages/batches/{state.raw['id']}/results"))
        return dict(map(_read_anthropic_line, lines)), _say(EXPIRED, "no answer in the batch")

    def find(self, http: httpx.Client, token: str, *, n: int, at: float) -> list[str]:
        del token
        found = _list_batches(http, "v1/messages/batches", "after_id", since=at)
        return [str(batch["id"]) for batch in found if sum((batch.get("request_counts") or {}).values()) == n]

    def read(self, body: Any) -> AIMessage:
        used = body.get("usage") or {}
        cached = [used.get(f"cache_{what}_input_tokens") or 0 for what in ("creation", "read")]
        n_in = used["input_tokens"] + sum(cached) if "input_tokens" in used else None
        return AIMessage(
            content=body["content"],
            response_metadata={"stop_reason": body.get("stop_reason")},
            usage_metadata=_count(n_in, used.get("output_tokens"), None, cached[1]),
        )


def _json(response: httpx.Response) -> dict[str, Any]:
    """The JSON object in the response.

    Raises:
        httpx.HTTPStatusError: there is none, or the status reports a failure.
    """
    response.raise_for_status()
    try:
        value = response.json()
    except ValueError:
        value = None
    if not isinstance(value, dict):
        request = response.request
        raise httpx.HTTPStatusError("no object", request=request, response=httpx.Response(502, text=response.text))
    return value


def _lines(response: httpx.Response) -> Iterator[dict[str, Any]]:
    response.raise_for_status()
    for line in response.content.split(b"\n"):
        if line.strip():
            yield json.loads(line)


def _list_batches(http: httpx.Client, path: str, cursor: str, *, since: float) -> Iterator[dict[str, Any]]:
    """Batches created since then, newest first."""
    params: dict[str, Any] = {"limit": PAGE}
    while True:
        page = _json(http.get(path, params=params))
        for batch in page.get("data") or []:
            if _read_time(batch.get("created_at")) < since - CLOCK_SECONDS:
                return
            yield batch
        if not page.get("has_more") or not page.get("last_id"):
            return
        params[cursor] = page["last_id"]


def _read_time(value: Any) -> float:
    """Unix seconds from OpenAI's numbers and Anthropic's dates."""
    if isinstance(value, str):
        return datetime.fromisoformat(value).timestamp()
    return float(value) if value is not None else time.time()


def _read_openai_line(line: Mapping[str, Any]) -> tuple[str, BatchResult]:
    key, response, error = str(line["custom_id"]), line.get("response"), line.get("error")
    if response:
        return key, BatchResult(int(response["status_code"]), response["body"])
    code = str((error or {}).get("code") or "")
    return key, BatchResult(EXPIRED if code == "batch_expired" else 500, {"error": error or {}})


def _read_anthropic_line(line: Mapping[str, Any]) -> tuple[str, BatchResult]:
    key, result = str(line["custom_id"]), line["result"]
    if result["type"] == "succeeded":
        return key, BatchResult(200, result["message"])
    if result["type"] == "errored":
        kind = (result["error"].get("error") or {}).get("type")
        return key, BatchResult(_ANTHROPIC_STATUS.get(str(kind), 500), result["error"])
    return key, _say(CANCELLED if result["type"] == "canceled" else EXPIRED, f"no answer: {result['type']}")


def _read_failure(raw: Mapping[str, Any]) -> BatchResult:
    """Why OpenAI did not run a batch. If its queue is full, that will pass."""
    errors = (raw.get("errors") or {}).get("data") or []
    words = "; ".join(dict.fromkeys(str(error.get("message") or error.get("code")) for error in errors))
    codes = {str(error.get("code")) for error in errors}
    status = QUEUE_FULL if "token_limit_exceeded" in codes else 400
    return _say(status, words or "the batch failed", code=next(iter(sorted(codes)), ""))


def _say(status: int, message: str, code: str = "") -> BatchResult:
    return BatchResult(status, {"error": {"message": message, "code": code}})


def _count(n_in: Any, n_out: Any, n_total: Any, n_cached: Any) -> UsageMetadata | None:
    if not isinstance(n_in, int) or not isinstance(n_out, int):
        return None
    total = n_total if isinstance(n_total, int) else n_in + n_out
    details = InputTokenDetails(cache_read=n_cached) if isinstance(n_cached, int) else InputTokenDetails()
    return UsageMetadata(input_tokens=n_in, output_tokens=n_out, total_tokens=total, input_token_details=details)
