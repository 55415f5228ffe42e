"""The embedded engine's process (`python -m pada_agent.app.adapters.llm.engine_process FILE N_SLOTS CONTEXT_TOKENS`).

Serves a GGUF file with llama.cpp on a loopback port, prints the OpenAI-compatible base URL, and ends when stdin closes,
so it never outlives its parent. It has to lead a process group of its own, which ends with it. It is a separate process because an engine that is released in the middle of an answer
waits for that answer while it holds the interpreter, so that a run could not be stopped.

Environment: PADA_ENGINE_KEY is the key that requests must send; PADA_LLAMA_SERVER, if set, names a llama.cpp to use instead of
the wheel's.
"""

import os
import sys
from typing import Any

from pada_agent.app.adapters.llm import own_llama_server
from pada_agent.core.machine import count_cores

PROMPT_CACHE_MIB = 512
"""Host memory for prompt prefixes that were seen before."""


def main() -> None:
    """Serve until stdin closes. If the engine does not start, the last line on stderr says why."""
    file, n_slots, context_tokens = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    if command := own_llama_server.find_command():
        own_llama_server.serve(
            command, file, n_slots=n_slots, context_tokens=context_tokens, cache_mib=PROMPT_CACHE_MIB
        )
    serve(make_params(file, n_slots=n_slots, context_tokens=context_tokens))


def make_params(file: str, *, n_slots: int, context_tokens: int) -> Any:
    """llama.cpp's settings for a model file (`xllamacpp.CommonParams`)."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = file
    params.n_parallel = n_slots
    params.n_ctx = n_slots * context_tokens
    params.cpuparams.n_threads = count_cores()
    params.cache_ram_mib = PROMPT_CACHE_MIB
    return params


def serve(params: Any) -> None:
    """Serve on a free loopback port until stdin closes."""
    import xllamacpp

    params.api_keys = [os.environ["PADA_ENGINE_KEY"]]
    params.port = 0
    params.ui = False
    params.verbosity = 0
    try:
        server = xllamacpp.Server(params)
    except RuntimeError as exc:
        sys.exit(f"the engine did not start ({exc})")
    print(f"{server.listening_address}/v1", flush=True)
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()
