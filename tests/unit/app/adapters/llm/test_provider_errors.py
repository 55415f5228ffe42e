"""What providers say when they refuse, in their own words."""

import re
from typing import Any

import httpx
import openai
import pytest
from botocore.exceptions import ClientError

from pada_agent.app.adapters.llm.environment import Address
from pada_agent.app.adapters.llm.limits import RetryableError
from pada_agent.app.adapters.llm.provider_errors import (
    ContentRefusedError,
    NotFoundError,
    ParameterRefusedError,
    translate_error,
)
from pada_agent.app.adapters.llm.redaction import Redaction
from pada_agent.core.errors import ModelUnavailableError, StructuredOutputError

CLIENT = openai.OpenAI(api_key="x", base_url="http://host/v1")


def translate(error: Exception) -> Exception:
    address = Address("http://host/v1", "base_url")
    return translate_error(error, name="openai:x", address=address, redaction=Redaction())


def refuse(status: int, body: Any, **headers: str) -> Exception:
    """As the OpenAI client raises it."""
    response = httpx.Response(status, headers=headers, json=body, request=httpx.Request("POST", "http://host/v1"))
    return CLIENT._make_status_error_from_response(response)


def say(message: str, **fields: Any) -> dict[str, Any]:
    return {"error": {"message": message, **fields}}


def refuse_aws(code: str, message: str) -> Exception:
    return ClientError({"Error": {"Code": code, "Message": message}}, "Converse")


@pytest.mark.parametrize(
    "error",
    [
        refuse(400, say("This model's maximum context length is 4096 tokens.", code="context_length_exceeded")),
        refuse(400, {"message": "The decoder prompt (length 5000) is longer than the maximum model length of 4096."}),
        refuse(422, say("Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 4100")),
        refuse(400, say("prompt is too long: 212345 tokens > 200000 maximum", type="invalid_request_error")),
        refuse(400, say("The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).")),
        refuse(413, say("Request too large for model `llama` on tokens per minute (TPM): Limit 6000, Requested 7000")),
        refuse(413, "Request Entity Too Large"),
        refuse(400, say("the request exceeds the available context size, try increasing it")),
        refuse(400, say("Prompt contains 40000 tokens, too large for model with 32768 maximum context length")),
        refuse(400, say("This model's maximum prompt length is 131072 but the request contains 140000 tokens.")),
        refuse(400, say("input length and `max_tokens` exceed context limit: 199000 + 8192 > 200000")),
        refuse_aws("ValidationException", "Input is too long for requested model."),
        refuse_aws("ValidationException", "prompt is too long: 250000 tokens > 200000 maximum"),
        refuse_aws("ValidationException", "400 Bad Request: Too many input tokens. Max input tokens: 8192"),
        refuse_aws("ValidationException", "The model returned: Input Tokens Exceeded: number of input tokens exceeds"),
    ],
)
def test_a_prompt_that_does_not_fit_costs_a_batch_whatever_the_words(error: Exception) -> None:
    found = translate(error)
    assert isinstance(found, StructuredOutputError)
    assert "does not fit" in str(found)


@pytest.mark.parametrize(
    "error",
    [
        refuse(429, say("You exceeded your current quota, please check your plan", code="insufficient_quota")),
        refuse(
            429,
            say("Rate limit reached on tokens per day (TPD): Limit 100000, Used 97050. Please try again in 9m38.016s."),
        ),
        refuse(429, say("Rate limit reached for gpt-4o on requests per day (RPD): Limit 200, Used 200, Requested 1.")),
        refuse(
            429,
            say(
                "You exceeded your current quota, please check your plan and billing details.",
                code=429,
                details=[{"violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}]}],
            ),
        ),
        refuse(429, say("Rate limit exceeded: free-models-per-day. Add 10 credits to unlock 1000 requests per day")),
        refuse(402, say("Insufficient credits. Add more using https://openrouter.ai/credits", code=402)),
        refuse(400, say("Your credit balance is too low to access the Anthropic API.")),
        refuse(402, say("Insufficient Balance")),
    ],
)
def test_a_quota_of_a_day_or_of_money_is_no_pause(error: Exception) -> None:
    found = translate(error)
    assert type(found) is ModelUnavailableError
    assert "used up" in str(found)


def test_the_quota_of_a_day_on_bedrock_is_no_pause_and_its_throttling_is_one() -> None:
    spent = translate(refuse_aws("ThrottlingException", "Too many tokens per day, please wait before trying again."))
    busy = translate(refuse_aws("ThrottlingException", "Too many tokens, please wait before trying again."))
    assert isinstance(spent, ModelUnavailableError)
    assert "per day" in str(spent)
    assert isinstance(busy, RetryableError)
    assert "please wait" in str(busy)


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (refuse(429, say("slow down"), **{"retry-after": "7"}), 7),
        (refuse(429, say("tokens per minute (TPM): Limit 6000. Please try again in 1.5s.")), 1.5),
        (
            refuse(
                429,
                say(
                    "You exceeded your current quota, please check your plan and billing details.",
                    details=[
                        {"violations": [{"quotaId": "GenerateRequestsPerMinutePerProjectPerModel"}]},
                        {"retryDelay": "17s"},
                    ],
                ),
            ),
            17,
        ),
        (
            refuse(
                429,
                say("Rate limit reached on tokens per min (TPM): Limit 30000. Please try again in 1.2s."),
                **{"x-ratelimit-reset-requests": "14h24m0s"},
            ),
            1.2,
        ),
        (refuse(429, say("slow down"), **{"x-ratelimit-reset-requests": "14h24m0s"}), 60),
        (refuse(429, say("slow down"), **{"x-ratelimit-reset-tokens": "3s"}), 3),
        (refuse(503, say("Unavailable"), **{"x-ratelimit-reset-requests": "11h30m0s"}), None),
        (refuse(500, say("oops"), **{"x-ratelimit-reset-tokens": "6m0s"}), None),
        (refuse(503, say("Loading model")), None),
        (refuse(500, "oops"), None),
        (refuse(529, say("Overloaded")), None),
        (ValueError({"message": "Provider returned error", "code": 502}), None),
    ],
)
def test_what_may_pass_is_tried_again(error: Exception, seconds: float | None) -> None:
    found = translate(error)
    assert isinstance(found, RetryableError)
    assert found.retry_after_seconds == seconds


@pytest.mark.parametrize(
    ("error", "parameter"),
    [
        (
            refuse(
                400,
                say(
                    "Unsupported value: 'temperature' does not support 0.0 with this model. Only the default (1) value.",
                    param="temperature",
                    code="unsupported_value",
                ),
            ),
            "temperature",
        ),
        (
            refuse(400, say("Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens'.")),
            "max_tokens",
        ),
        (refuse(400, say("Unrecognized request argument supplied: max_completion_tokens")), "max_completion_tokens"),
        (refuse(400, say("litellm.UnsupportedParamsError: no support for parameters: ['temperature']")), "temperature"),
        (
            refuse(422, {"detail": [{"loc": ["body", "temperature"], "msg": "extra fields not permitted"}]}),
            "temperature",
        ),
        (refuse(400, say("`temperature` is deprecated for this model.")), "temperature"),
        (refuse(400, say("`temperature` may only be set to 1 when thinking is enabled.")), "temperature"),
        (refuse_aws("ValidationException", "The model does not support the temperature parameter."), "temperature"),
        (refuse(400, say("'response_format' of type 'json_schema' is not supported")), "response_format"),
        (refuse(400, say("This response_format type is unavailable now")), "response_format"),
        (refuse(400, say("invalid temperature: only 1 is allowed for this model")), "temperature"),
        (refuse(422, {"message": "`temperature` must be strictly positive"}), "temperature"),
    ],
)
def test_a_parameter_that_a_model_does_not_take_is_told(error: Exception, parameter: str) -> None:
    found = translate(error)
    assert isinstance(found, ParameterRefusedError)
    assert found.parameter == parameter


@pytest.mark.parametrize(
    "error",
    [
        refuse(400, say("temperature must be in [0, 2]")),
        refuse(400, say("max_tokens is too large: 20000. This model supports at most 16384 completion tokens")),
        refuse(400, say("bad request")),
    ],
)
def test_a_bad_value_is_an_error_with_the_providers_words(error: Exception) -> None:
    found = translate(error)
    assert type(found) is ModelUnavailableError
    assert "refused the request (HTTP 400): " in str(found)


@pytest.mark.parametrize(
    "error",
    [
        refuse(
            400, say("The response was filtered due to the prompt triggering Azure OpenAI's content management policy.")
        ),
        refuse(400, say("filtered", code="content_filter")),
        refuse(400, say("Your request was rejected as a result of our safety system.")),
        refuse(
            400,
            say(
                "Invalid prompt: your prompt was flagged as potentially violating our usage policy. Please try again with"
                " a different prompt.",
                code="invalid_prompt",
            ),
        ),
        refuse(400, say("Content Exists Risk", code="invalid_request_error")),
        refuse(400, say("Input data may contain inappropriate content.", code="data_inspection_failed")),
        refuse(400, say("The request was rejected because it was considered high risk")),
        refuse(400, say("input contains sensitive words: [test]", code="sensitive_words_detected")),
        refuse(400, say("The request failed because the input text may contain sensitive information.")),
        refuse(
            403, say('openai/gpt-4o requires moderation on OpenAI. Your input was flagged for "harassment".', code=403)
        ),
        refuse(
            403,
            {
                "code": "The caller does not have permission to execute the specified operation",
                "error": "Content violates usage guidelines. Failed check: SAFETY_CHECK_TYPE_BIO",
            },
        ),
    ],
)
def test_a_filtered_prompt_is_told_from_other_refusals(error: Exception) -> None:
    assert isinstance(translate(error), ContentRefusedError)


@pytest.mark.parametrize(
    "words",
    [
        "Your account was deactivated for violating our usage policies.",
        "Your organization was blocked after repeated content violations.",
        "<html><body>Blocked by the content filter of Example Ltd</body></html>",
    ],
)
def test_a_blocked_account_or_page_is_no_filtered_prompt(words: str) -> None:
    found = translate(refuse(403, say(words)))
    assert type(found) is ModelUnavailableError
    assert "refused the key (HTTP 403)" in str(found)


@pytest.mark.parametrize(
    "error",
    [
        refuse(400, say("Could not finish the message because max_tokens or model output limit was reached.")),
        refuse(400, say("Failed to generate JSON. Please adjust your prompt.", code="json_validate_failed")),
        refuse(400, say("Tool choice is none, but model called a tool", code="tool_use_failed")),
    ],
)
def test_an_answer_that_the_model_could_not_end_costs_a_batch(error: Exception) -> None:
    found = translate(error)
    assert isinstance(found, StructuredOutputError)
    assert "could not end its answer" in str(found)


def test_the_servers_own_words_are_shown_without_what_looks_like_a_key() -> None:
    missing = translate(refuse(404, say("model 'llama9' not found, try pulling it first")))
    assert isinstance(missing, NotFoundError)
    assert "try pulling it first" in str(missing)
    assert str(translate(refuse(401, say("Incorrect API key provided: sk-proj-ab***xyz.")))).endswith("[key]")


def raise_from(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            raise_from(
                openai.APIConnectionError(request=httpx.Request("POST", "http://host/v1")),
                httpx.LocalProtocolError("Illegal header value b'Bearer secret\\n'"),
            ),
            r"\(Illegal header value\)",
        ),
        (UnicodeEncodeError("ascii", "secret", 0, 1, "ordinal not in range(128)"), r"cannot be written in ascii"),
        (httpx.InvalidURL("Invalid port: 'x'"), "Invalid port: 'x'"),
        (httpx.UnsupportedProtocol("Request URL is missing an 'http://'"), "is missing an 'http://'"),
    ],
)
def test_a_request_that_could_not_be_made_is_not_tried_again(error: Exception, words: str) -> None:
    found = translate(error)
    assert type(found) is ModelUnavailableError
    assert re.search(words, str(found)) and "secret" not in str(found)


def test_what_the_openai_client_cannot_send_is_not_tried_again() -> None:
    client = openai.OpenAI(api_key="x", base_url="ftp://host/v1", max_retries=0)
    with pytest.raises(openai.APIConnectionError) as caught:
        client.models.list()
    found = translate(caught.value)
    assert type(found) is ModelUnavailableError and "unsupported protocol 'ftp://'" in str(found)


def test_headers_are_checked_in_whichever_client_a_package_uses() -> None:
    httpx2 = pytest.importorskip("httpx2")
    cause = httpx2.LocalProtocolError("Illegal header value b'Bearer secret\\n'")
    found = translate(raise_from(openai.APIConnectionError(request=httpx.Request("POST", "http://host/v1")), cause))
    assert type(found) is ModelUnavailableError and "secret" not in str(found)
    passing = httpx2.LocalProtocolError("Too little data for declared Content-Length")
    assert isinstance(translate(passing), RetryableError)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (httpx.ConnectError("refused"), "Is the server running?"),
        (httpx.ReadTimeout("slow"), "no answer in time"),
        (KeyError("choices"), "not a chat completion"),
    ],
)
def test_other_clients_errors_are_told_apart(error: Exception, words: str) -> None:
    found = translate(error)
    assert isinstance(found, RetryableError)
    assert words in str(found)
