"""Translates third-party exceptions: what may pass is retried, what a user can fix says how, and one bad prompt costs one batch."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from json import JSONDecodeError
from typing import Any
from urllib.parse import urlsplit

import httpx
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, ReadTimeoutError
from langchain_core.exceptions import ContextOverflowError

from pada_agent.app.adapters.llm.environment import Address, describe_proxy
from pada_agent.app.adapters.llm.limits import LONGEST_WAIT_SECONDS, RetryableError
from pada_agent.app.adapters.llm.redaction import Redaction
from pada_agent.app.adapters.llm.waiting import read_quota_reset, read_retry_after, read_wait_in_words
from pada_agent.core.errors import ModelUnavailableError, StructuredOutputError

SHOWN_CHARACTERS = 400
"""Number of characters shown of what a provider says."""
PASSING_STATUS = (408, 409, 425, 429)
BAD_REQUEST = (400, 422)
AWS_PASSING = {
    "ThrottlingException",
    "TooManyRequestsException",
    "ServiceUnavailableException",
    "ModelTimeoutException",
    "InternalServerException",
    "ModelNotReadyException",
    "ModelErrorException",
}
OPTIONAL = ("temperature", "max_completion_tokens", "max_tokens", "response_format")
"""Parameters that some models refuse, and that a call can leave out or send under another name."""
_TIMEOUTS = (httpx.TimeoutException, ReadTimeoutError, TimeoutError)
_CONNECTIONS = (httpx.TransportError, ConnectionError)
_NEVER_SENT = {"UnsupportedProtocol", "InvalidURL", "UnicodeEncodeError"}
"""The request itself is not valid, and will not be the next time. By name, because providers' packages have HTTP clients of
their own, such as httpx2.
"""
_PROTOCOL, _ILLEGAL_HEADER = "LocalProtocolError", "Illegal header"
"""How the HTTP client begins to say so of a header. Its other protocol errors pass."""
_DIRECT = ("local:", "own:")
"""Models that no proxy is in front of, or none that we know."""
_LOCAL_BY_DEFAULT = ("ollama:",)
"""Models on this machine, unless an address is given."""
_TIMEOUT_NAMES = {"APITimeoutError", "TimeoutException", "Timeout"}
_CONNECTION_NAMES = {"APIConnectionError", "TransportError", "ConnectionError"}
"""Each provider's package has errors of these names of its own, or those of its own HTTP client."""

_OVERFLOW = re.compile(
    r"context[ _](?:length|size|window|limit)|exceed_context_size|contextwindowexceeded"
    r"|maximum (?:context|prompt|sequence|input|model) length|max_model_len"
    r"|(?:prompt|inputs?|messages?|request|sequence)\b[^.:]{0,60}(?:too (?:long|large)|longer than)"
    r"|too many (?:input )?tokens(?! per)|input tokens? [^.]{0,40}exceed|token count[^.]{0,60}exceeds|exceed model maximum"
    r"|inputs?`? tokens \+|reduce (?:your message size|the length of)|must have less than \d+ tokens|must be at least 1, got -"
    r"|n_keep\b|max_num_tokens|range of input length"
    r"|(?:prompt|input|messages?|request|tokens)\b[^.:]{0,40}\bexceed"
    r"(?![^.]{0,60}(?:per[ -]?(?:min|sec|day)|rate|quota|spend|budget|credit))[^.]{0,30}(?:max|limit|context|window)"
    r"|(?:输入|上下文|提示)[^。]{0,12}(?:过长|超过|超出|超限)",
    re.IGNORECASE,
)
"""How providers say that a prompt does not fit."""
_TOO_MUCH_ASKED = re.compile(
    r"maximum tokens you requested|supports at most \d+ (?:completion|output) tokens", re.IGNORECASE
)
"""Not the prompt: `max_output_tokens` is more than the model ever writes, and no batch would fit."""
_BEYOND_A_MINUTE = re.compile(r"request too large\b.*\bmust be reduced", re.IGNORECASE)
"""OpenAI's words, under the status of a pause, for one request with more tokens than it allows in a minute: it never gets through."""
_SPENT = re.compile(
    r"per[ -]?day|per[ -]?month|\b[RT]PD\b|\bdaily\b|\bmonthly\b|(?:insufficient|out of|no more) (?:credits?|balance|funds|quota)"
    r"|credit balance|credits? (?:is|are) (?:used up|exhausted)|payment required|balance (?:is )?insufficient|used all available"
    r"|per[ -]?week|\bweekly\b|usage limits\b|spend(?:ing)? limit|exceeded\w* (?:\w+ )?budget|exceededbudget"
    r"|budget has been exceeded|budget_exceeded|billing (?:hard )?limit|account is not active|arrear|余额不足|欠费",
    re.IGNORECASE,
)
"""What will not be better in a few minutes."""
_SPENT_CODES = ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active")
_FILTERED = re.compile(
    r"content[ _](?:filter|management|policy)|responsibleaipolicy|safety (?:system|filter|settings)|prohibited[ _]content"
    r"|guardrail",
    re.IGNORECASE,
)
_FLAGGED = re.compile(
    r"\b(?:prompt|input|content|messages?)\b[^.]{0,40}\b(?:flagged|inappropriate|violat(?:es?|ing)\b[^.]{0,30}(?:polic|guideline))"
    r"|content exists risk|data[_ ]inspection|invalid_prompt|content_policy|considered high risk"
    r"|sensitive[ _]?(?:words?|content)|contains? sensitive|敏感",
    re.IGNORECASE,
)
"""The same in words that do not fit a refused key, a blocked account or a web page."""
_SPOILT = re.compile(r"could not finish the message|json_validate_failed|tool_use_failed", re.IGNORECASE)
"""The model began to answer but could not end it, and would fail again."""
_WEB_PAGE = re.compile(r"\s*<(?:!doctype|html|head|\?xml)", re.IGNORECASE)
_QUOTE = re.compile(r"\s+b?['\"]")
_TAG = re.compile(r"<(style|script)\b.*?</\1>|<[^>]*>", re.IGNORECASE | re.DOTALL)
_UNSUPPORTED = re.compile(
    r"unsupported|unavailable|not support|only the default|only \S+ (?:is|are) allowed|must be strictly positive|deprecated|not permitted|not allowed|un(?:recognized|known|expected)"
    r"|may only be set|extra (?:fields|inputs)",
    re.IGNORECASE,
)


_MISTAKES = (
    *(TypeError, AttributeError, NameError, NotImplementedError, ImportError, AssertionError),
    *(ValueError, LookupError, ArithmeticError, RecursionError),
)
"""Errors of Python that name no status and no connection: in a program of the application, a mistake that would happen again."""


class NotFoundError(ModelUnavailableError):
    """There is no such model, or no such address."""


class ContentRefusedError(Exception):
    """The provider's filter refused the prompt. The text is what the filter said."""


class ParameterRefusedError(Exception):
    """The model does not accept one of our parameters."""

    def __init__(self, parameter: str, unusable: ModelUnavailableError) -> None:
        super().__init__(parameter)
        self.parameter = parameter
        self.unusable = unusable
        """What to raise where the call cannot do without it."""


@dataclass(frozen=True)
class _Failure:
    """What is known about a failed request, whichever client raised it."""

    words: str
    """The full message, with keys masked."""
    status: int | None = None
    code: str = ""
    parameter: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    is_shown: bool = True
    """Whether the message may be shown."""

    @property
    def shown(self) -> str:
        return self.words[:SHOWN_CHARACTERS] if self.is_shown else "(its words are not shown here)"


def translate_error(
    error: Exception, *, name: str, address: Address | None, redaction: Redaction, written_by_app: str = ""
) -> Exception:
    """Our exception for one raised by a call, without the key in it.

    Args:
        written_by_app: class of the chat model, if the application has written it. What may be a mistake in it is not retried.
    """
    if redaction.hides_words and address and address.source != "base_url":
        address = None  # the operator's environment is not the reader's business
    where = str(address or "the provider's address")
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if unsent := next((cause for cause in _list_causes(error) if _was_never_sent(cause)), None):
        return ModelUnavailableError(
            f"{name}: the request to {where} could not be made ({_describe_unsent(unsent)}). Check the key, the"
            " headers and the address for stray characters."
        )
    if isinstance(error, _TIMEOUTS) or kinds & _TIMEOUT_NAMES:
        return RetryableError(f"{name}: no answer in time from {where} (timeout_seconds)")
    if isinstance(error, _CONNECTIONS) or kinds & _CONNECTION_NAMES:
        is_direct = name.startswith(_DIRECT) or (address is None and name.startswith(_LOCAL_BY_DEFAULT))
        through = "" if redaction.hides_words or is_direct else describe_proxy(address and address.url)
        way = f" through the proxy of {through}" if through else ""
        advice = (
            f"Set NO_PROXY{_find_host(address)} if it can be reached without a proxy."
            if through
            else "Is the server running?"
        )
        return RetryableError(f"{name}: no connection to {where}{way}. {advice}", no_connection=True)
    if isinstance(error, NoCredentialsError):
        return ModelUnavailableError(
            f"{name}: no AWS credentials. Set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
        )
    failure = _describe(error, redaction)
    if isinstance(error, ContextOverflowError) or _is_overflow(failure):
        return StructuredOutputError(
            f"{name}: the prompt does not fit. Ask for fewer rows per call, lower max_output_tokens, or give more context:"
            f" {failure.shown}"
        )
    if isinstance(error, ClientError):
        return _translate_aws(failure, name)
    if failure.status is None:
        if written_by_app and isinstance(error, _MISTAKES) and not isinstance(error, JSONDecodeError):
            raised = redaction.mask(_one_line(repr(error)))[:SHOWN_CHARACTERS] if failure.is_shown else failure.shown
            return ModelUnavailableError(
                f"{name}: {written_by_app}, the chat model that the application brought, raised {raised}; docs/embedding.md"
                " says what it must accept."
            )
        kind = "" if isinstance(error, BotoCoreError) else f"the answer from {where} was not a chat completion: "
        if isinstance(error, JSONDecodeError) and _WEB_PAGE.match(error.doc):
            setting = (address and address.source) or "base_url"
            page = f"{name}: {kind}it is a web page. Is {setting} right, down to /v1? It says: {failure.shown}"
            return RetryableError(page, no_connection=True)
        return RetryableError(f"{name}: {kind}{failure.shown}")
    return _translate_status(failure, failure.status, name, where)


def _was_never_sent(error: BaseException) -> bool:
    kinds = _name_kinds(error)
    return bool(kinds & _NEVER_SENT) or (_PROTOCOL in kinds and str(error).startswith(_ILLEGAL_HEADER))


def _name_kinds(error: BaseException) -> set[str]:
    """The names of its class and of those that this derives from."""
    return {kind.__name__ for kind in type(error).__mro__}


def _describe_unsent(error: BaseException) -> str:
    """Its message, up to where it quotes a header's value, which may be the key."""
    if isinstance(error, UnicodeEncodeError):
        return f"a character cannot be written in {error.encoding}"
    return _QUOTE.split(str(error))[0] if _PROTOCOL in _name_kinds(error) else str(error)


def _find_host(address: Address | None) -> str:
    host = urlsplit(address.url).hostname if address else None
    return f"={host}" if host else " to the provider's host"


def _list_causes(error: BaseException) -> Iterator[BaseException]:
    """The error, and what it was raised from."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__


def _is_overflow(failure: _Failure) -> bool:
    if failure.status == 413 or _BEYOND_A_MINUTE.search(failure.words):
        return True
    passing = failure.status is not None and (failure.status in PASSING_STATUS or failure.status >= 500)
    if passing or failure.code in AWS_PASSING or _TOO_MUCH_ASKED.search(failure.words):
        return False
    return bool(_OVERFLOW.search(f"{failure.code} {failure.words}"))


def _translate_status(failure: _Failure, status: int, name: str, where: str) -> Exception:
    if _is_filtered(failure, status):
        return ContentRefusedError(failure.shown)
    if status in BAD_REQUEST and _SPOILT.search(f"{failure.code} {failure.words}"):
        return StructuredOutputError(
            f"{name}: the model could not end its answer. Ask for fewer rows per call, raise max_output_tokens, or lower"
            f" reasoning_effort: {failure.shown}"
        )
    if _is_spent(failure):
        return ModelUnavailableError(
            f"{name}: the quota or credit at {where} is used up (HTTP {status}): {failure.shown}"
        )
    if status in (401, 403):
        return ModelUnavailableError(f"{name}: {where} refused the key (HTTP {status}): {failure.shown}")
    if status in (404, 405):
        return NotFoundError(f"{name}: not found at {where} (HTTP {status}): {failure.shown}")
    if 300 <= status < 400:
        return NotFoundError(f"{name}: {where} redirects (HTTP {status}), which is not followed: {failure.shown}")
    if status in PASSING_STATUS or status >= 500:
        said = f"{name}: HTTP {status} from {where}: {failure.shown}"
        return RetryableError(said, retry_after_seconds=_find_wait(failure, status))
    refused = ModelUnavailableError(f"{name}: {where} refused the request (HTTP {status}): {failure.shown}")
    parameter = _find_refused_parameter(failure) if status in BAD_REQUEST else ""
    return ParameterRefusedError(parameter, refused) if parameter else refused


def _is_filtered(failure: _Failure, status: int) -> bool:
    if failure.code == "content_filter":
        return True
    if status in BAD_REQUEST and _FILTERED.search(failure.words):
        return True
    return status in (*BAD_REQUEST, 403) and bool(_FLAGGED.search(f"{failure.code} {failure.words}"))


def _find_wait(failure: _Failure, status: int) -> float | None:
    """Seconds that the server asks to wait, in headers or in words. Else, if a quota is used up, until it is full again, a minute at most."""
    for wait in (read_retry_after(failure.headers), read_wait_in_words(failure.words)):
        if wait is not None:
            return wait
    reset = read_quota_reset(failure.headers) if status == 429 else None
    return None if reset is None else min(reset, LONGEST_WAIT_SECONDS)


def _translate_aws(failure: _Failure, name: str) -> Exception:
    said = f"{name}: Bedrock says {failure.code}: {failure.shown}"
    if failure.code in AWS_PASSING and not _SPENT.search(failure.words):
        return RetryableError(said, retry_after_seconds=read_retry_after(failure.headers))
    if failure.code == "ValidationException":
        if _FILTERED.search(failure.words):
            return ContentRefusedError(failure.shown)
        if parameter := _find_refused_parameter(failure):
            return ParameterRefusedError(parameter, ModelUnavailableError(said))
    return ModelUnavailableError(said)


def _is_spent(failure: _Failure) -> bool:
    """Whether credit or a daily or monthly quota is used up. Gemini's messages for a minute and for a day differ only in the quota's name."""
    if failure.code in _SPENT_CODES or failure.status == 402:
        return True
    return failure.status in (400, 403, 429) and bool(_SPENT.search(f"{failure.code} {failure.words}"))


def _find_refused_parameter(failure: _Failure) -> str:
    """The parameter that the provider names, or the first of ours in its message."""
    if not _UNSUPPORTED.search(f"{failure.code} {failure.words}".replace("_", " ")):
        return ""
    if failure.parameter in OPTIONAL:
        return failure.parameter
    named = [(at, name) for name in OPTIONAL if (at := failure.words.find(name)) >= 0]
    return min(named)[1] if named else ""


def _describe(error: Exception, redaction: Redaction) -> _Failure:
    if isinstance(error, ClientError):
        details, meta = error.response.get("Error", {}), error.response.get("ResponseMetadata", {})
        return _Failure(
            words=redaction.mask(_one_line(details.get("Message", ""))),
            status=meta.get("HTTPStatusCode"),
            code=str(details.get("Code", "")),
            headers=meta.get("HTTPHeaders", {}),
            is_shown=not redaction.hides_words,
        )
    body = _read_body(error)
    response = getattr(error, "response", None)
    return _Failure(
        words=redaction.mask(_one_line(_find_words(body) or _find_plain_words(error))),
        status=_find_status(error, body),
        code=str(body.get("code") or getattr(error, "code", "") or ""),
        parameter=str(body.get("param") or ""),
        headers=getattr(response, "headers", None) or {},
        is_shown=not redaction.hides_words,
    )


def _read_body(error: Exception) -> dict[str, Any]:
    """What the provider sent. Servers put it under `error` or at the top, and LangChain raises that of a status 200 as ValueError."""
    candidates = [getattr(error, "body", None), getattr(error, "details", None), *error.args[:1], _read_response(error)]
    body = next((c for c in candidates if isinstance(c, dict)), {})
    inner = body.get("error")
    return inner if isinstance(inner, dict) else body


def _read_response(error: Exception) -> Any:
    try:
        return json.loads(getattr(getattr(error, "response", None), "text", ""))
    except (ValueError, TypeError, RecursionError):
        return None


def _find_words(body: Mapping[str, Any]) -> str:
    """The message, with the details in which Gemini names quota and wait, and OpenRouter quotes its provider."""
    message = body.get("message") or body.get("detail") or body.get("error")
    metadata = body.get("metadata")
    raw = metadata.get("raw") if isinstance(metadata, dict) else None
    return " ".join(str(part) for part in (message, body.get("details"), raw) if part) if message else ""


def _find_plain_words(error: Exception) -> str:
    """Message for an answer that is not an error object: text, a web page, nothing at all, or a completion without choices."""
    response = getattr(error, "response", None)
    text = error.doc if isinstance(error, JSONDecodeError) else getattr(response, "text", "")
    if _WEB_PAGE.match(text):
        text = _TAG.sub(" ", text)
    if isinstance(error, IndexError | KeyError):
        return f"it has no {error.args[0]!r}" if isinstance(error, KeyError) else "it has no choices"
    if isinstance(error, JSONDecodeError):
        return text.strip() or "it is empty"
    place = (getattr(response, "headers", None) or {}).get("location")
    return text.strip() or (f"It leads to {place}" if place else str(error) or type(error).__name__)


def _find_status(error: Exception, body: Mapping[str, Any]) -> int | None:
    response = getattr(error, "response", None)
    candidates = (
        getattr(error, "status_code", None),
        getattr(response, "status_code", None),
        getattr(error, "code", None),
        body.get("code"),
        body.get("status"),
    )
    return next((c for c in candidates if isinstance(c, int) and 300 <= c < 600), None)


def _one_line(text: object) -> str:
    return " ".join(str(text).split())
