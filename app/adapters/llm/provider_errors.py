"""Third-party exceptions as ours: what may pass is retried, what a user can mend says how, one bad prompt costs one batch."""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError
from langchain_core.exceptions import ContextOverflowError
from openai import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    NotFoundError,
    PermissionDeniedError,
)

from pada_agent.app.adapters.llm.limits import RetryableError
from pada_agent.core.errors import ModelUnavailableError, StructuredOutputError

THROTTLED = {"ThrottlingException", "TooManyRequestsException", "ServiceUnavailableException", "ModelTimeoutException"}
BROKEN = {"InternalServerException", "ModelNotReadyException", "ModelErrorException"}
PASSING_STATUS = (408, 409, 425, 429)
OVERFLOW = ("exceed_context_size", "context length", "context size", "context window", "input is too long")


def translate_error(error: Exception, *, name: str, url: str | None, secret: str = "") -> Exception:
    """Our exception for one that came out of a call, without the key in it."""
    text = " ".join(str(error).split())
    text = (text.replace(secret, "[key]") if secret else text)[:400]
    if isinstance(error, ContextOverflowError) or any(sign in text.casefold() for sign in OVERFLOW):
        return StructuredOutputError(
            f"{name}: the prompt does not fit. Ask for fewer rows per call, or give more context: {text}"
        )
    if isinstance(error, APIConnectionError | APIStatusError):
        return _translate_openai(error, name, url or "the provider's address", text)
    if isinstance(error, ClientError | BotoCoreError):
        return _translate_aws(error, name)
    return RetryableError(f"{name}: the answer was no chat completion ({type(error).__name__}: {text})")


def read_retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds the server asks to wait, given as a number or an HTTP date; None when it does not say."""
    value = headers.get("retry-after", "")
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None


def _translate_openai(error: APIConnectionError | APIStatusError, name: str, url: str, text: str) -> Exception:
    if isinstance(error, APITimeoutError):
        return RetryableError(f"{name}: no answer in time from {url}")
    if isinstance(error, APIConnectionError):
        return RetryableError(f"{name}: no connection to {url}. Is the server running?")
    if isinstance(error, AuthenticationError | PermissionDeniedError):
        return ModelUnavailableError(f"{name}: the provider refused the key (HTTP {error.status_code})")
    if isinstance(error, NotFoundError):
        return ModelUnavailableError(f"{name}: unknown model at {url} (HTTP 404)")
    code = str(getattr(error, "code", None))
    if code == "insufficient_quota":
        return ModelUnavailableError(f"{name}: the account at {url} has no credit left (HTTP {error.status_code})")
    if code == "content_filter":
        return StructuredOutputError(f"{name}: the provider refused the content: {text}")
    if error.status_code in PASSING_STATUS or error.status_code >= 500:
        wait = read_retry_after(error.response.headers)
        return RetryableError(f"{name}: HTTP {error.status_code} from {url}: {text}", retry_after_seconds=wait)
    return ModelUnavailableError(f"{name}: the provider refused the request: {text}")


def _translate_aws(error: ClientError | BotoCoreError, name: str) -> Exception:
    if isinstance(error, NoCredentialsError):
        return ModelUnavailableError(
            f"{name}: no AWS credentials. Set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
        )
    if not isinstance(error, ClientError):
        return RetryableError(f"{name}: {error}")
    code, message = error.response["Error"]["Code"], error.response["Error"].get("Message", "")
    if code in THROTTLED | BROKEN:
        headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        return RetryableError(f"{name}: {code}", retry_after_seconds=read_retry_after(headers))
    return ModelUnavailableError(f"{name}: Bedrock says {code}: {message}")
