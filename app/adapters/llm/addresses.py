"""What may be wrong with an address at which a model was not found."""

import re
from urllib.parse import urlsplit

import httpx

PROBE_SECONDS = 5.0
_VERSION = re.compile(r"/v\d")


def explain_not_found(url: str | None) -> str:
    """A hint to add to a server's "not found": OpenAI-compatible servers answer below `/v1`, which is easily forgotten."""
    if url is None or _VERSION.search(urlsplit(url).path):
        return "" if url is None else f" {_name_models(url)}".rstrip()
    longer = f"{url.rstrip('/')}/v1"
    if _answers(longer):
        return f" Is /v1 missing? A server answers at {longer}: set base_url to that."
    return f" Is /v1 missing in base_url, as in {longer}?"


def _answers(url: str) -> bool:
    """Whether there is a list of models, or one for those who have a key. No key is sent."""
    try:
        return _get(f"{url}/models").status_code in (200, 401, 403)
    except httpx.HTTPError:
        return False


def _name_models(url: str) -> str:
    """The models that the server says it has, a few of them."""
    try:
        listed = _get(f"{url.rstrip('/')}/models").json()["data"]
        names = [str(model["id"]) for model in listed[:8]]
    except (httpx.HTTPError, ValueError, KeyError, TypeError, IndexError):
        return ""
    return f"It has: {', '.join(names)}." if names else ""


def _get(url: str) -> httpx.Response:
    return httpx.get(url, timeout=PROBE_SECONDS, follow_redirects=False)
