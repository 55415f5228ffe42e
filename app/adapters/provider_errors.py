"""Third-party exceptions as ours: what may pass is retried, what a user can mend says how."""

from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError
from openai import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    NotFoundError,
    PermissionDeniedError,
)

from pada_agent.app.adapters.limits import RetryableError
from pada_agent.core.errors import ModelUnavailableError

THROTTLED = {"ThrottlingException", "TooManyRequestsException", "ServiceUnavailableException", "ModelTimeoutException"}


def translate_error(error: Exception, *, name: str, url: str | None) -> Exception | None:
    """Our exception for a provider's, or None for what is not a provider's."""
    if isinstance(error, APIConnectionError | APIStatusError):
        return _translate_openai(error, name, url or "the provider's address")
    if isinstance(error, ClientError | BotoCoreError):
        return _translate_aws(error, name)
    return None


def _translate_openai(error: APIConnectionError | APIStatusError, name: str, url: str) -> Exception:
    if isinstance(error, APITimeoutError):
        return RetryableError(f"{name}: no answer in time from {url}")
    if isinstance(error, APIConnectionError):
        return RetryableError(f"{name}: no connection to {url}. Is the server running?")
    if isinstance(error, AuthenticationError | PermissionDeniedError):
        return ModelUnavailableError(f"{name}: the provider refused the key (HTTP {error.status_code})")
    if isinstance(error, NotFoundError):
        return ModelUnavailableError(f"{name}: unknown model at {url} (HTTP 404)")
    if error.status_code == 429 or error.status_code >= 500:
        wait = _read_seconds(error.response.headers.get("retry-after"))
        return RetryableError(f"{name}: HTTP {error.status_code} from {url}", retry_after_seconds=wait)
    return ModelUnavailableError(
        f"{name}: the provider refused the request (HTTP {error.status_code}): {error.message}"
    )


def _translate_aws(error: ClientError | BotoCoreError, name: str) -> Exception:
    if isinstance(error, NoCredentialsError):
        return ModelUnavailableError(
            f"{name}: no AWS credentials. Set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
        )
    if not isinstance(error, ClientError):
        return RetryableError(f"{name}: {error}")
    code, message = error.response["Error"]["Code"], error.response["Error"].get("Message", "")
    if code in THROTTLED:
        return RetryableError(f"{name}: {code}")
    return ModelUnavailableError(f"{name}: Bedrock says {code}: {message}")


def _read_seconds(value: str | None) -> float | None:
    try:
        return float(value) if value is not None else None
    except ValueError:
        return None
