"""A `llama-server` of the user's own, in place of the embedded engine's llama.cpp.

The wheel has to run on every machine, so it knows neither a GPU nor a processor's newer instructions. A build that does is named by
`PADA_LLAMA_SERVER`: the program, and options for it if there are any.
"""

import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from http.client import HTTPConnection, HTTPException
from threading import Thread
from typing import NoReturn

from pada_agent.core.errors import ConfigError
from pada_agent.core.machine import LLAMA_SERVER, count_cores

HOST = "127.0.0.1"
POLL_SECONDS = 0.1
HEALTH_SECONDS = 5.0
_LEAVE_OUT = "Leave it out."
_DECIDED: Mapping[str, str] = {
    **dict.fromkeys(("-c", "--ctx-size"), "Set context_tokens of the model instead."),
    **dict.fromkeys(("-np", "--parallel"), "Set max_concurrency of the model instead."),
    **dict.fromkeys(("-m", "--model", "-mu", "--model-url", "-hf", "-hfr", "--hf-repo"), _LEAVE_OUT),
    **dict.fromkeys(("--host", "--port", "--api-key", "--api-key-file", "--api-prefix"), _LEAVE_OUT),
    **dict.fromkeys(("--ssl-key-file", "--ssl-cert-file"), _LEAVE_OUT),
}
"""Options that the run decides, and what to do instead of giving them."""


def find_command() -> tuple[str, ...]:
    """The program that `PADA_LLAMA_SERVER` names, and its options. Empty if there is none.

    Raises:
        ConfigError: there is no such program, or an option is one that the run decides.
    """
    try:
        command = shlex.split(os.environ.get(LLAMA_SERVER, ""))
    except ValueError as exc:
        raise ConfigError(
            f"{LLAMA_SERVER} cannot be read ({exc}). Put names with spaces into quotation marks."
        ) from exc
    if command and shutil.which(command[0]) is None:
        raise ConfigError(
            f"{LLAMA_SERVER}: {command[0]} is not a program. Name llama.cpp's llama-server with its folder, or unset {LLAMA_SERVER}."
        )
    if odd := [option for option in command[1:] if option.partition("=")[0] in _DECIDED]:
        name = odd[0].partition("=")[0]
        raise ConfigError(f"{LLAMA_SERVER}: the run itself decides {name}. {_DECIDED[name]}")
    return tuple(command)


def serve(command: Sequence[str], file: str, *, n_slots: int, context_tokens: int, cache_mib: int) -> NoReturn:
    """Start the program, print its OpenAI-compatible base URL when it has loaded the model, and end it when stdin closes.

    Its own options come last, so they prevail over ours. It ends together with the whole process group, because it may be a script
    that starts the server: this process has to lead a group of its own.

    Args:
        context_tokens: per slot.
        cache_mib: host memory for prompt prefixes that were seen before.
    """
    port = _find_port()
    program, *options = command
    ours = {
        "--model": file,
        "--parallel": n_slots,
        "--ctx-size": n_slots * context_tokens,
        "--threads": count_cores(),
        "--cache-ram": cache_mib,
        "--host": HOST,
        "--port": port,
    }
    process = subprocess.Popen(
        [program, *(str(part) for option in ours.items() for part in option), *options],
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        env=os.environ | {"LLAMA_API_KEY": os.environ["PADA_ENGINE_KEY"]},
    )
    Thread(target=_announce, args=(port,), daemon=True).start()
    Thread(target=_end_after, args=(process.wait,), daemon=True).start()  # its last line on stderr says why
    _end_after(sys.stdin.read)


def _announce(port: int) -> None:
    while not _is_ready(port):
        time.sleep(POLL_SECONDS)
    print(f"http://{HOST}:{port}/v1", flush=True)


def _end_after(wait: Callable[[], object]) -> NoReturn:
    """Wait, then end the process group, and with it this process."""
    wait()
    os.killpg(0, signal.SIGKILL)
    raise AssertionError("unreachable")


def _find_port() -> int:
    with socket.socket() as free:
        free.bind((HOST, 0))
        port: int = free.getsockname()[1]
        return port


def _is_ready(port: int) -> bool:
    """Whether the model is loaded."""
    connection = HTTPConnection(HOST, port, timeout=HEALTH_SECONDS)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
