"""Tracks which keys a run's settings send where. A folder from elsewhere cannot send keys to an address without asking."""

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from pada_agent.app.adapters.llm.providers import PARTNERS, find_key_variables
from pada_agent.app.run_folder import layout
from pada_agent.core.config import RunConfig
from pada_agent.core.errors import ConfigError
from pada_agent.core.model_config import ModelConfig

LOOPBACK = ("127.0.0.1", "localhost", "::1")


class KeyUse(NamedTuple):
    """An environment variable whose value is sent, and the recipient."""

    variable: str
    address: str

    def __str__(self) -> str:
        return f"{self.variable} to {self.address}"


def find_key_uses(config: RunConfig) -> frozenset[KeyUse]:
    """Keys that are set and would leave this machine for an address, or under a name, chosen by the settings."""
    models = config.models
    uses = {use for model in (models.analyst, models.generator, models.judge) for use in _find_uses(model)}
    return frozenset(use for use in uses if os.environ.get(use.variable))


def find_unknown(uses: Iterable[KeyUse]) -> tuple[KeyUse, ...]:
    """Those that no run of this user has made yet."""
    known = _read()
    return tuple(sorted(use for use in uses if use not in known))


def remember(uses: Iterable[KeyUse]) -> None:
    """Remember that this user sends these keys there."""
    if not (unknown := find_unknown(uses)):
        return
    with suppress(OSError):  # a home that cannot be written to is asked again
        _file().parent.mkdir(parents=True, exist_ok=True)
        with _file().open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(use) + "\n" for use in unknown)


def refuse(folder: Path, uses: tuple[KeyUse, ...]) -> ConfigError:
    """The error for keys that nobody allowed to be sent."""
    sent = "; ".join(map(str, uses))
    return ConfigError(
        f"{folder}: its settings send {sent}, where none of your runs has sent it.\n"
        f"Only if you know and trust that address: {layout.word_resume(folder)} --send-keys"
    )


def _find_uses(model: ModelConfig) -> Iterator[KeyUse]:
    secret_headers = tuple(model.header_envs.values())
    chosen = (model.api_key_env,) if model.api_key_env else ()
    if model.base_url is not None:
        if urlsplit(model.base_url).hostname not in LOOPBACK:
            for variable in (*(chosen or find_key_variables(model)), *secret_headers):
                yield KeyUse(variable, model.base_url)
        return
    for variable in (*chosen, *secret_headers):
        if variable not in find_key_variables(model.model_copy(update={"api_key_env": None})):
            yield KeyUse(variable, f"{model.provider}'s own address")
    if model.provider in PARTNERS and model.extra:  # parameters of a client, which may name an address
        for variable in find_key_variables(model):
            yield KeyUse(variable, f"{model.provider} as {json.dumps(model.extra, sort_keys=True)} says")


def _read() -> frozenset[KeyUse]:
    try:
        lines = _file().read_text(encoding="utf-8").split("\n")
        return frozenset(KeyUse(*json.loads(line)) for line in lines if line)
    except (OSError, ValueError, TypeError):
        return frozenset()


def _file() -> Path:
    return (
        Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
        / "pada-agent"
        / "key-addresses.jsonl"
    )
