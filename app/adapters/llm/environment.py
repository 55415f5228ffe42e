"""What LLM roles take from environment variables: keys, addresses and proxies. Values that cannot work are refused by the variable's name."""

import os
from collections.abc import Iterable
from importlib.util import find_spec
from typing import NamedTuple
from urllib.parse import urlsplit
from urllib.request import getproxies_environment, proxy_bypass_environment  # type: ignore[attr-defined]  # a gap in typeshed

from pada_agent.core.errors import ConfigError
from pada_agent.core.model_config import check_address, find_odd_character

_QUOTES = "\"'`"
_PROXIED = ("http", "https", "all")
_SOCKS = ("socks5", "socks5h")


class Address(NamedTuple):
    """Where a role's requests go, and what says so."""

    url: str
    source: str
    """`base_url`, or the environment variable. Empty: it is the provider's own."""

    def __str__(self) -> str:
        return self.url if self.source in ("", "base_url") else f"{self.url} ({self.source})"


def read_key(variable: str) -> str | None:
    """The key in an environment variable. None if there is none.

    Raises:
        ConfigError: it cannot be a key.
    """
    key = read_header(variable)
    if key is None:
        return None
    if key[0] in _QUOTES or key[-1] in _QUOTES:
        raise ConfigError(f"the environment variable {variable} begins or ends with a quotation mark. {_KEY_ALONE}")
    if key.lower().startswith("bearer "):
        raise ConfigError(
            f"the environment variable {variable} begins with 'Bearer', which is added here. {_KEY_ALONE}"
        )
    return key


_KEY_ALONE = "Set it to the key alone."


def read_header(variable: str) -> str | None:
    """The value of an environment variable that is sent in a header, without white space around it. None if that is empty.

    Raises:
        ConfigError: no header can hold it.
    """
    value = os.environ.get(variable, "").strip()
    if odd := find_odd_character(value):
        raise ConfigError(f"the environment variable {variable} contains {odd}, which cannot be sent. Set it again.")
    return value or None


def read_as_it_is(variable: str) -> str | None:
    """The value of an environment variable that another library reads. None if it is empty.

    Raises:
        ConfigError: no header can hold it, or there is white space around it.
    """
    value = read_header(variable)
    if value != (os.environ.get(variable) or None):
        raise ConfigError(f"the environment variable {variable} begins or ends with white space. Set it again.")
    return value


def read_address(variables: Iterable[str], *, drops_query: bool = False) -> Address | None:
    """The address in the first of these variables that is set.

    Args:
        drops_query: whether it may have a `?query`, which is left out.

    Raises:
        ConfigError: it is none.
    """
    for variable in variables:
        if value := os.environ.get(variable, "").strip():
            value = value.partition("?")[0] if drops_query else value
            try:
                return Address(check_address(value), variable)
            except ValueError as exc:
                raise ConfigError(f"the environment variable {variable}: {exc}") from exc
    return None


def check_proxies() -> None:
    """Check every proxy of the environment, because the HTTP client sets up all of them before it uses one.

    Raises:
        ConfigError: one of them cannot be used.
    """
    for scheme, proxy in getproxies_environment().items():
        if scheme not in _PROXIED:
            continue
        name = _name(scheme)
        try:
            parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
            is_address = bool(parts.hostname) and (parts.port or 1) > 0
        except ValueError:
            is_address = False
        if not is_address or parts.scheme not in ("http", "https", *_SOCKS):
            raise ConfigError(
                f"the environment variable {name} is not the address of a proxy, such as http://127.0.0.1:3128."
                f" Correct or unset it."
            )
        if parts.scheme in _SOCKS and find_spec("socksio") is None:
            raise ConfigError(
                f"the environment variable {name} names a SOCKS proxy, which needs the package socksio: pip install socksio."
                f" Or unset {name}."
            )


def describe_proxy(url: str | None) -> str:
    """The proxy that a request to this address goes through, such as `HTTP_PROXY=http://host:3128`. Empty if none."""
    parts = urlsplit(url or "https://")
    proxies = getproxies_environment()
    scheme = next((s for s in (parts.scheme, "all") if s in proxies), None)
    if scheme is None or (parts.hostname and proxy_bypass_environment(parts.hostname, proxies)):
        return ""
    proxy = proxies[scheme]
    start = "".join(proxy.partition("://")[:2]) if "://" in proxy else ""
    return f"{_name(scheme)}={start}{proxy.removeprefix(start).rpartition('@')[2]}"


def _name(scheme: str) -> str:
    """The variable as it is written in the environment. Lower case prevails."""
    return next(
        (name for name in (f"{scheme}_proxy", f"{scheme}_PROXY") if os.environ.get(name)), f"{scheme}_proxy".upper()
    )
