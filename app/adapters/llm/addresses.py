"""Finds out what may be wrong with an address where a model was not found."""

import re
from urllib.parse import urlsplit

import httpx

from pada_agent.app.adapters.llm.environment import Address

LOOKUP_SECONDS = 5.0
_VERSION = re.compile(r"/v\d")
NAMED_MODELS = 8


def explain_not_found(address: Address) -> str:
    """A hint to add to a server's "not found". OpenAI-compatible servers answer below `/v1`, which is easily forgotten."""
    url = address.url
    parts = urlsplit(url)
    if names := list_models(url):
        more = ", …" if len(names) > NAMED_MODELS else ""
        return f" It has: {', '.join(names[:NAMED_MODELS])}{more}."
    if _VERSION.search(parts.path) and _answers(url):
        return ""
    longer = [f"{url.rstrip('/')}/v1", f"{parts.scheme}://{parts.netloc}/v1"]
    for candidate in dict.fromkeys(longer):
        if _answers(candidate):
            return f" Is /v1 missing? A server answers at {candidate}: set {address.source} to that."
    return "" if _VERSION.search(parts.path) else f" Is /v1 missing in {address.source}, as in {longer[0]}?"


def list_models(url: str) -> tuple[str, ...]:
    """The models that the server says it has. Empty if it does not say, or requires a key."""
    try:
        return tuple(str(model["id"]) for model in _get(f"{url.rstrip('/')}/models").json()["data"])
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError):
        return ()


def _answers(url: str) -> bool:
    """Whether there is a list of models here, or one for callers with a key. No key is sent."""
    try:
        response = _get(f"{url}/models")
    except (httpx.HTTPError, httpx.InvalidURL):
        return False
    is_json = "json" in response.headers.get("content-type", "")  # a web page is there for every path
    return is_json and response.status_code in (200, 401, 403)


def _get(url: str) -> httpx.Response:
    return httpx.get(url, timeout=LOOKUP_SECONDS, follow_redirects=False)
