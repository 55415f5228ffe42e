"""Why an answer ended, in the words of each provider."""

from langchain_core.messages import AIMessage

CUT_OFF = ("length", "max_tokens", "model_context_window_exceeded", "model_length", "error_limit")
"""A limit was reached. The last two are Mistral's and Cohere's words for a full context."""
BLOCKED_PROMPT = "a blocked prompt"
FILTERED = (
    *("content_filter", "content_filtered", "guardrail_intervened", "refusal", "error_toxic", BLOCKED_PROMPT),
    *("safety", "prohibited_content", "recitation", "blocklist", "spii", "language", "image_safety", "model_armor"),
)
"""The model or a filter refused. The second line is Gemini's."""
BROKEN_OFF = ("error", "abort", "timeout", "insufficient_system_resource")
"""Something failed at the provider, and may work the next time."""
_NAMES = ("finish_reason", "stopReason", "stop_reason", "done_reason")
_UNBLOCKED = (None, "", 0, "BLOCK_REASON_UNSPECIFIED")


def find_ending(message: AIMessage) -> str:
    """Why the answer ended, in lower case. Empty if that is not known."""
    metadata = message.response_metadata
    if reason := next((metadata[name] for name in _NAMES if metadata.get(name)), None):
        return str(reason).lower()
    feedback = metadata.get("prompt_feedback")  # Gemini's, which then gives no candidates
    is_blocked = isinstance(feedback, dict) and feedback.get("block_reason") not in _UNBLOCKED
    return BLOCKED_PROMPT if is_blocked else ""
