"""PaDA-Agent as a Runnable in an LCEL chain: sync and async, with callbacks and streaming.

python examples/embedding/chain.py mytask.yaml
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.runnables import Runnable, RunnableGenerator

from pada_agent import RunConfig, build_graph, load_config


class CallCounter(BaseCallbackHandler):
    """A LangChain callback that counts calls by agent. LangSmith or any other tracer is passed in the same way."""

    def __init__(self) -> None:
        self.calls: dict[str, int] = {}

    def on_chain_start(self, *_: Any, metadata: dict[str, Any] | None = None, **kwargs: Any) -> None:
        agent = (metadata or {}).get("agent")
        if agent and kwargs.get("name") == agent:
            self.calls[agent] = self.calls.get(agent, 0) + 1


def tell(chunks: Iterator[dict[str, Any]]) -> Iterator[str]:
    """A line for each node when the chain is streamed, and the verdict in any case."""
    for chunk in chunks:
        yield from _lines(chunk)


async def atell(chunks: AsyncIterator[dict[str, Any]]) -> AsyncIterator[str]:
    async for chunk in chunks:
        for line in _lines(chunk):
            yield line


def _lines(chunk: dict[str, Any]) -> Iterator[str]:
    """A chunk is the graph's output when it is invoked, and one node's update when it is streamed."""
    if "summary" in chunk:
        yield chunk["summary"].verdict
    else:
        yield from (update["summary"].verdict if name == "finish" else f"{name}\n" for name, update in chunk.items())


def make_chain(settings: RunConfig) -> Runnable[dict[str, Any], str]:
    return build_graph().compile().bind(context=settings) | RunnableGenerator(tell, atell)


async def main(config: str) -> None:
    counter = CallCounter()
    chain = make_chain(load_config(Path(config)))
    async for text in chain.astream({}, {"callbacks": [counter], "tags": ["example"]}):
        print(text, end="", flush=True)
    print(f"\n{counter.calls}")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
