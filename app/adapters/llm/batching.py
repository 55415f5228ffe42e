"""Sends a stage's calls as one batch to the provider, at half the price: collects, sends, waits, and hands out the answers."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from threading import BoundedSemaphore, Event, Lock
from typing import Any
from uuid import uuid4

import httpx
from langchain_core.messages import AIMessage

from pada_agent.app.adapters.llm.batch_ledger import BatchLedger, SentBatch
from pada_agent.app.adapters.llm.batch_services import (
    CANCELLED,
    EXPIRED,
    QUEUE_FULL,
    BatchFailedError,
    BatchResult,
    BatchService,
    BatchState,
)
from pada_agent.app.adapters.llm.clients import ChatClient
from pada_agent.app.adapters.llm.endings import BROKEN_OFF, find_ending
from pada_agent.app.adapters.llm.limits import Clock
from pada_agent.app.adapters.llm.provider_errors import PASSING_STATUS
from pada_agent.app.adapters.llm.response_cache import call_key
from pada_agent.core.chat import ChatRequest
from pada_agent.core.errors import ModelUnavailableError
from pada_agent.core.model_config import ModelConfig
from pada_agent.core.progress import Progress

MAX_CALLS = 10_000
"""Maximum number of calls in one batch. OpenAI allows 50,000 and Anthropic 100,000."""
MAX_FAILED_POLLS = 60
"""Maximum number of failed polls in a row. With half a minute between them, this survives an outage of half an hour."""
HALF_PRICE = "half_price"
"""Key in the metadata of messages that came from a batch."""


@dataclass
class _Job:
    """A batch, from its first call to its results."""

    token: str = field(default_factory=lambda: uuid4().hex)
    sent: SentBatch | None = None
    """None while calls are being collected."""
    bodies: dict[str, dict[str, Any]] = field(default_factory=dict)
    touched: float = 0.0
    done: Event = field(default_factory=Event)
    results: dict[str, BatchResult] = field(default_factory=dict)
    unnamed: BatchResult = field(default_factory=lambda: BatchResult(EXPIRED, None))
    """The result for calls that the results do not mention."""
    is_lost: bool = False
    """The provider has no such batch, so its calls have to be sent in another one."""
    error: Exception | None = None


class BatchClient:
    """Implements `ChatClient`. The thread with the first call handles the batch; the others wait for it.

    Which call is in which batch is recorded before it is sent, so after a restart the same call waits for the earlier
    batch. Calls that fail at the provider are sent once more on their own, at full price.

    Args:
        model: as keys of calls name it.
        ordinary: makes the client for such calls.
        report: receives progress on the batch.
    """

    def __init__(
        self,
        config: ModelConfig,
        service: BatchService,
        ledger: BatchLedger,
        *,
        model: str,
        ordinary: Callable[[], ChatClient],
        report: Callable[[Progress], None],
        clock: Clock | None = None,
    ) -> None:
        self._config = config
        self._service = service
        self._ledger = ledger
        self._model = model
        self._ordinary = ordinary
        self._report = report
        self._clock = clock or Clock()
        self._slots = BoundedSemaphore(config.max_concurrency)
        self._lock = Lock()
        self._collecting: _Job | None = None
        self._jobs: dict[str, _Job] = {}
        self._failed: set[str] = set()
        """Calls that go out by themselves."""
        self._most_calls = MAX_CALLS
        """Fewer once a batch was more than the provider's queue takes."""
        self._turn = Lock()
        """Held by a batch at the provider, if that is so: the next one would not fit beside it."""

    def ask(self, request: ChatRequest, refused: frozenset[str]) -> AIMessage:
        key = call_key(self._model, request)
        while key not in self._failed:
            job = self._take_part(key, request, refused)
            if not job.is_lost:
                return self._read(job.results.get(key, job.unnamed), key, request, refused)
        return self._ask_now(request, refused)

    def close(self) -> None:
        """Stop waiting. Sent batches continue at the provider and are found again. Takes no lock, because a signal handler calls this."""
        self._clock.stop()

    def _take_part(self, key: str, request: ChatRequest, refused: frozenset[str]) -> _Job:
        """The finished batch that holds the call."""
        body = self._service.make_body(request, refused)
        job, leads = self._join(key, body)
        if leads:
            self._see_to(job)
        job.done.wait()
        if job.error is not None:
            raise job.error
        return job

    def _join(self, key: str, body: dict[str, Any]) -> tuple[_Job, bool]:
        """The batch that holds or accepts the call, and whether the caller is the first to wait for it."""
        with self._lock:
            if sent := self._ledger.find(key):
                known = self._jobs.get(sent.token)
                job = self._jobs.setdefault(sent.token, _Job(token=sent.token, sent=sent))
                return job, known is None
            job = self._collecting or _Job()
            leads = job is not self._collecting
            job.bodies[key] = body
            job.touched = self._clock.now()
            self._jobs[job.token] = job
            self._collecting = job if len(job.bodies) < self._most_calls else None
            return job, leads

    def _see_to(self, job: _Job) -> None:
        job.error = ModelUnavailableError("the run was interrupted")  # until it is known better
        try:
            with self._service.connect() as http:
                self._bring(job, http)
            job.error = None
        except Exception as exc:
            job.error = exc
            raise
        finally:
            with self._lock:
                if job.error or job.is_lost:
                    self._jobs.pop(job.token, None)
                if self._collecting is job:
                    self._collecting = None
            job.done.set()

    def _bring(self, job: _Job, http: httpx.Client) -> None:
        """Fill in the results, or mark the batch as lost."""
        if job.sent is not None:
            self._follow(job, job.sent, http)
            return
        self._collect(job)
        with self._turn if self._most_calls < MAX_CALLS else nullcontext():
            self._check_open()
            job.sent = self._send(job, http)
            self._follow(job, job.sent, http)

    def _follow(self, job: _Job, sent: SentBatch, http: httpx.Client) -> None:
        """The same for a batch that was sent."""
        expected = self._ledger.list_keys(job.token)
        for batch_id in [sent.id] if sent.id else self._look_for(sent, http):
            if self._wait_for(job, batch_id, http) and (sent.id or expected & job.results.keys()):
                self._ledger.name(job.token, batch_id)
                self._most_calls = min(MAX_CALLS, 2 * self._most_calls)
                return
        job.results, job.is_lost = {}, True
        self._ledger.forget(job.token)

    def _collect(self, job: _Job) -> None:
        """Wait until no more calls have arrived for a while."""
        while True:
            self._check_open()
            with self._lock:
                left = job.touched + self._config.batch_window_seconds - self._clock.now()
                if left <= 0 or self._collecting is not job:
                    self._collecting = None if self._collecting is job else self._collecting
                    return
            self._clock.sleep(left)

    def _send(self, job: _Job, http: httpx.Client) -> SentBatch:
        sent = self._ledger.begin(job.token, list(job.bodies))
        try:
            batch_id = self._service.submit(http, job.token, job.bodies)
        except httpx.HTTPError as exc:
            if _was_not_taken(exc):
                self._ledger.forget(job.token)
            raise
        self._ledger.name(job.token, batch_id)
        job.bodies = {}
        return sent._replace(id=batch_id)

    def _look_for(self, sent: SentBatch, http: httpx.Client) -> list[str]:
        """Ids of a batch that was sent but whose id never arrived, because the process or the connection ended at that moment."""
        known = self._ledger.list_ids()
        return [found for found in self._service.find(http, sent.token, n=sent.n, at=sent.at) if found not in known]

    def _wait_for(self, job: _Job, batch_id: str, http: httpx.Client) -> bool:
        """Wait until the batch is finished, and store its results. False if the provider does not have it, or has no room for so many calls."""
        n_failed = 0
        while True:
            self._check_open()
            try:
                state = self._service.poll(http, batch_id)
                self._tell(job, batch_id, state)
                if state.is_over:
                    job.results, job.unnamed = self._service.fetch(http, state)
                    return True
                n_failed = 0
            except BatchFailedError as exc:
                self._ledger.forget(job.token)
                n_calls = job.sent.n if job.sent else 0
                if exc.result.status == QUEUE_FULL and n_calls > 1:
                    self._most_calls = min(self._most_calls, n_calls // 2)
                    return False
                raise _as_http_error(exc.result) from None
            except httpx.HTTPError as exc:
                n_failed += 1
                if _is_gone(exc):
                    return False
                if not _may_pass(exc) or n_failed > MAX_FAILED_POLLS:
                    raise
            self._clock.sleep(self._config.batch_poll_seconds)

    def _read(self, result: BatchResult, key: str, request: ChatRequest, refused: frozenset[str]) -> AIMessage:
        if result.status == CANCELLED:
            self._ledger.forget_call(key)
            raise ModelUnavailableError(
                f"{self._config.model}: the batch was cancelled at the provider. Its answers so far are kept; resume"
                " the run to send the rest again."
            )
        if result.status in PASSING_STATUS or result.status >= 500:
            return self._give_up(key, request, refused)
        if result.status >= 400:
            self._ledger.forget_call(key)  # sent again in another form, it belongs to another batch
            raise _as_http_error(result)
        try:
            message = self._service.read(result.body)
        except (LookupError, TypeError, ValueError):
            return self._give_up(key, request, refused)
        if find_ending(message) in BROKEN_OFF:
            return self._give_up(key, request, refused)
        message.response_metadata[HALF_PRICE] = True
        return message

    def _give_up(self, key: str, request: ChatRequest, refused: frozenset[str]) -> AIMessage:
        self._failed.add(key)
        self._ledger.forget_call(key)
        return self._ask_now(request, refused)

    def _ask_now(self, request: ChatRequest, refused: frozenset[str]) -> AIMessage:
        with self._slots:
            self._check_open()
            return self._ordinary().ask(request, refused)

    def _check_open(self) -> None:
        if self._clock.is_stopped:
            raise ModelUnavailableError(
                "the run was closed. Batches that were sent continue at the provider, and a resumed run waits for them."
            )

    def _tell(self, job: _Job, batch_id: str, state: BatchState) -> None:
        total = job.sent.n if job.sent else state.done
        done = total if state.is_over else min(state.done, total - 1)
        detail = f"{batch_id} is {state.status.replace('_', ' ')}"
        self._report(Progress(stage="llm_batch", done=done, total=total, unit="calls", detail=detail))


def _as_http_error(result: BatchResult) -> httpx.HTTPStatusError:
    """The same error as for a call sent on its own, so that it is classified in the same way."""
    response = httpx.Response(result.status, json=result.body)
    return httpx.HTTPStatusError("refused", request=httpx.Request("POST", "http://batch"), response=response)


def _was_not_taken(error: httpx.HTTPError) -> bool:
    """Whether it is certain that the provider has created no batch."""
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code < 500
    return isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)


def _is_gone(error: httpx.HTTPError) -> bool:
    return isinstance(error, httpx.HTTPStatusError) and error.response.status_code in (404, 410)


def _may_pass(error: httpx.HTTPError) -> bool:
    if isinstance(error, httpx.HTTPStatusError):
        status = error.response.status_code
        return status in PASSING_STATUS or status >= 500
    return True
