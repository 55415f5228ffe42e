"""What providers and servers say, in their own words: a prompt that does not fit, a quota, a pause, a mistake in the settings."""

import pytest

from pada_agent.app.adapters.llm.limits import RetryableError
from pada_agent.core.errors import ModelUnavailableError, StructuredOutputError
from tests.unit.app.adapters.llm.test_provider_errors import refuse, say, translate

DOES_NOT_FIT = (
    "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens.",
    "Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in 300000 tokens. Please reduce the length of the messages.",
    "'max_tokens' or 'max_completion_tokens' is too large: 4096. This model's maximum context length is 4096 tokens and your request has 1000 input tokens",
    "The decoder prompt (length 5000) is longer than the maximum model length of 4096. Make sure that `max_model_len` is no smaller",
    "max_tokens must be at least 1, got -904.",
    "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 4000 `inputs` tokens and 200 `max_new_tokens`",
    "Input validation error: `inputs` must have less than 1024 tokens. Given: 2000",
    "the request exceeds the available context size. try increasing the context size or enable context shift",
    "the request (5000 tokens) exceeds the available context size (4096 tokens), try increasing it",
    "the input length exceeds the context length",
    "Trying to keep the first 5000 tokens when context the overflows. However, the model is loaded with context length of only 4096 tokens",
    "Cannot truncate prompt with n_keep (5000) >= n_ctx (4096)",
    "The number of tokens to keep from the initial prompt is greater than the context length. Try to load the model with a larger context length",
    "The input (5000 tokens) is longer than the model's context length (4096 tokens).",
    "Requested token count exceeds the model's maximum context length of 4096 tokens.",
    "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length",
    "prompt is too long: 212345 tokens > 200000 maximum",
    "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000, decrease input length or `max_tokens` and try again",
    "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
    "Please reduce the length of the messages or completion.",
    "too many tokens: total number of tokens in the prompt cannot exceed 4081 - received 5000. Try using a shorter prompt",
    "Input is too long for requested model.",
    "This endpoint's maximum context length is 131072 tokens. However, you requested about 140000 tokens",
    "This model's maximum prompt length is 131072 but the request contains 200000 tokens.",
    "The prompt is too long: 5000, model maximum context length: 4096",
    "the number of input tokens 5000 cannot exceed the total tokens limit 4096 for this model",
    "Range of input length should be [1, 30720]",
    "Prompt exceeds max length",
    "Your request exceeded model token limit: 8192",
    "Input length 5000 exceeds maximum allowed token size 4096",
    "context window exceeds limit",
    "Total tokens of image and text exceed max message tokens",
    "The total number of tokens 9000 exceeds the model limit of 8192",
    "Request contains 9000 tokens, which exceeds the limit of 8192",
    "prompt token count of 12345 exceeds the limit of 8192",
    "The sum of prompt length (5000.0), query length (0) should not exceed max_num_tokens (4096)",
    "Requested tokens (5000) exceed context window of 4096",
    "litellm.ContextWindowExceededError: litellm.BadRequestError: OpenAIException",
    "输入长度超过模型最大长度",
    "Input too large. Please shorten it.",
    "messages too long",
)
IS_NO_OVERFLOW = (
    "max_tokens is too large: 100000. This model supports at most 16384 completion tokens, whereas you provided 100000.",
    "The maximum tokens you requested exceeds the model limit of 4096. Try again with a maximum tokens value that is lower than 4096",
    "Invalid value for 'temperature'",
    "model not found",
    "Invalid 'messages[0].content': string too long. Expected a string with maximum length 10485760, but got a string with length 20000000 instead.",
    "The request is too slow",
    "max_tokens: 100000 > 64000, which is the maximum allowed number of output tokens for claude",
    "You exceeded your current quota, please check your plan",
    "Unsupported parameter: 'max_tokens'",
    "Thinking budget exceeds max_tokens",
    "messages: at least one message is required",
)
USED_UP = (
    "Rate limit reached for model `x` on tokens per day (TPD): Limit 100000, Used 99000, Requested 2000. Please try again in 14m24s.",
    "Rate limit reached for requests per day (RPD)",
    "Your credit balance is too low to access the Anthropic API.",
    "Insufficient Balance",
    "Insufficient credits. Add more using https://openrouter.ai/credits",
    "Rate limit exceeded: free-models-per-day. Add 10 credits to unlock 1000 free model requests per day",
    "You have exceeded your monthly included credits for Inference Providers.",
    "Too many tokens per day, please wait before trying again.",
    "Quota exceeded for metric: generativelanguage.googleapis.com/generate_content_free_tier_requests, limit: 20, quotaId GenerateRequestsPerDayPerProjectPerModel-FreeTier",
    "You have reached your specified API usage limits. You will regain access on 2026-01-01 at 00:00 UTC.",
    "This request would exceed your account's spend limit",
    "You have run out of credits",
    "Budget has been exceeded! Current cost: 10.1, Max budget: 10.0",
    "ExceededBudget: User has exceeded their budget",
    "Billing hard limit has been reached",
    "Your team has either used all available credits or reached its monthly spending limit.",
    "Account is not active, please check your billing details",
    "账户余额不足",
    "Arrearage: Access denied, please make sure your account is in good standing.",
    "Monthly quota exceeded",
    "daily limit exceeded",
    "Your account balance is insufficient",
    "exceeded the weekly limit",
)
PASSES = (
    "Rate limit reached for gpt-4o on tokens per min (TPM): Limit 30000, Used 29000, Requested 2000. Please try again in 2s.",
    "Too many requests",
    "Quota exceeded for metric: generate_content_free_tier_requests quotaId GenerateRequestsPerMinutePerProjectPerModel",
    "Number of request tokens has exceeded your per-minute rate limit",
    "Overloaded",
    "This request would exceed your organization's rate limit of 50,000 input tokens per minute",
    "Resource has been exhausted (e.g. check quota).",
    "Concurrency limit exceeded",
    "Model is currently at capacity",
    "Number of concurrent requests exceeds the limit",
    "Requests per minute limit exceeded",
)


@pytest.mark.parametrize("words", DOES_NOT_FIT)
@pytest.mark.parametrize("status", [400, 422])
def test_a_prompt_that_does_not_fit_costs_its_batch(words: str, status: int) -> None:
    assert isinstance(translate(refuse(status, say(words))), StructuredOutputError)


def test_a_request_beyond_the_tokens_of_a_minute_costs_its_batch_and_no_retries() -> None:
    words = (
        "Request too large for gpt-4o in organization org-x on tokens per min (TPM): Limit 30000, Requested 42389. The input or"
        " output tokens must be reduced in order to run successfully. Visit https://platform.openai.com/account/rate-limits"
    )
    found = translate(refuse(429, say(words, type="tokens", code="rate_limit_exceeded")))
    assert isinstance(found, StructuredOutputError) and "Limit 30000, Requested 42389" in str(found)


@pytest.mark.parametrize("code", ["context_length_exceeded", "exceed_context_size_error"])
def test_the_code_says_it_where_the_words_do_not(code: str) -> None:
    assert isinstance(translate(refuse(400, say("bad request", code=code))), StructuredOutputError)


@pytest.mark.parametrize("words", IS_NO_OVERFLOW)
def test_other_mistakes_end_the_run_with_the_servers_words(words: str) -> None:
    found = translate(refuse(400, say(words)))
    found = getattr(found, "unusable", found)
    assert type(found) is ModelUnavailableError
    assert words in str(found)


@pytest.mark.parametrize("words", USED_UP)
@pytest.mark.parametrize("status", [400, 403, 429])
def test_what_a_few_minutes_do_not_bring_back_ends_the_run(words: str, status: int) -> None:
    found = translate(refuse(status, say(words), retry_after="20"))
    assert type(found) is ModelUnavailableError
    assert "used up" in str(found) and words in str(found)


@pytest.mark.parametrize("words", PASSES)
@pytest.mark.parametrize("status", [429, 503])
def test_what_a_few_minutes_bring_back_is_waited_for(words: str, status: int) -> None:
    assert isinstance(translate(refuse(status, say(words))), RetryableError)
