"""A `llama-server` of the user's own, in place of the embedded engine's llama.cpp.

The wheel has to run on every machine, so it knows neither a GPU nor a processor's newer instructions. A build that does is named by
`PADA_LLAMA_SERVER`: the program, and options for it if there are any.
"""

import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from http.client import HTTPConnection, HTTPException
from threading import Thread
from typing import NoReturn

from pada_agent.core.errors import ConfigError
from pada_agent.core.machine import LLAMA_SERVER, count_cores

HOST = "127.0.0.1"
POLL_SECONDS = 0.1
HEALTH_SECONDS = 5.0


def find_command() -> tuple[str, ...]:
    """The program that `PADA_LLAMA_SERVER` names, and its options. Empty if there is none.

    Raises:
        ConfigError: there is no such program.
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
    return tuple(command)


def serve(command: Sequence[str], file: str, *, n_slots: int, context_tokens: int, cache_mib: int) -> NoReturn:
    """Start the program, print its OpenAI-compatible base URL when it has loaded the model, and end it when stdin closes.

    Its own options come last, so they prevail over ours.

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
    Thread(target=_end_with, args=(process,), daemon=True).start()
    while not _is_ready(port):
        time.sleep(POLL_SECONDS)
    print(f"http://{HOST}:{port}/v1", flush=True)
    sys.stdin.read()
    process.kill()
    os._exit(0)


def _end_with(process: subprocess.Popen[bytes]) -> None:
    """End together with the program, whose last line on stderr says why."""
    process.wait()
    os._exit(1)


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
