"""Makes small language models better with their own failures (PaDA-Agent, arXiv 2510.18143).

    from pada_agent import RunConfig, build_graph
    graph = build_graph().compile(checkpointer=...)
    graph.invoke({}, config, context=RunConfig(...))
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langgraph.graph import StateGraph

    from pada_agent.core.config import RunConfig
    from pada_agent.core.errors import PadaError
    from pada_agent.graph.context import Connect

__all__ = ["PadaError", "RunConfig", "build_graph"]


def build_graph(connect: "Connect | None" = None) -> "StateGraph[Any, Any, Any, Any]":
    """The whole loop, not yet compiled: choose your own checkpointer.

    Args:
        connect: settings to adapters; by default the standard wiring, `pada_agent.app.wiring.connect`. Yours may call
            that and replace parts of what it gives (docs/embedding.md).
    """
    from pada_agent.app import wiring
    from pada_agent.graph.builder import build_graph as build

    return build(connect or wiring.connect)


def __getattr__(name: str) -> Any:
    if name == "RunConfig":
        from pada_agent.core.config import RunConfig

        return RunConfig
    if name == "PadaError":
        from pada_agent.core.errors import PadaError

        return PadaError
    raise AttributeError(f"module 'pada_agent' has no attribute '{name}'")
