"""PaDA-Agent as a subgraph: an app that measures its deployed model, improves it if needed, and adopts the adapter.

    python examples/embedding/subgraph.py mytask.yaml 0.9

The parent's context schema is the run's settings, so the subgraph reads them from there; `summary` is the key they share.
"""

import sys
from pathlib import Path
from typing import Literal

from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import Runtime
from typing_extensions import TypedDict

from pada_agent import RunConfig, RunSummary, build_graph, evaluate_model, load_config


class AppState(TypedDict, total=False):
    """What the app knows about its model."""

    target: float
    adapter: str
    """Folder of the deployed adapter; empty for the untouched student."""
    accuracy: float
    summary: RunSummary
    """Of the last improvement."""


def measure(state: AppState, runtime: Runtime[RunConfig]) -> AppState:
    """How the deployed model does on validation rows."""
    adapter = Path(state["adapter"]) if state.get("adapter") else None
    found = evaluate_model(runtime.context, adapter=adapter, split="validation", on_event=lambda _: None)
    return {"accuracy": found.accuracy}


def decide(state: AppState) -> Literal["improve", "__end__"]:
    """Improve once, and only a model that is below its target."""
    return "improve" if state["accuracy"] < state["target"] and "summary" not in state else END


def adopt(state: AppState, runtime: Runtime[RunConfig]) -> AppState:
    """Deploy the best model of the run, and remember it across threads where the app has a store."""
    run, summary = Path(runtime.context.runs_folder) / runtime.context.name, state["summary"]
    adapter = str(run / "best") if summary.adapter else ""
    if runtime.store:
        runtime.store.put(("deployed",), summary.task, {"adapter": adapter, "verdict": summary.verdict})
    return {"adapter": adapter}


def build_app() -> StateGraph[AppState, RunConfig, AppState, AppState]:
    """The app, not yet compiled."""
    builder = StateGraph(AppState, context_schema=RunConfig)
    builder.add_node("measure", measure)
    builder.add_node("improve", build_graph().compile())
    builder.add_node("adopt", adopt)
    builder.add_edge(START, "measure")
    builder.add_conditional_edges("measure", decide)
    builder.add_edge("improve", "adopt")
    builder.add_edge("adopt", "measure")
    return builder


def main(config: str, target: str = "0.9") -> AppState:
    app: CompiledStateGraph[AppState, RunConfig, AppState, AppState] = build_app().compile()
    return AppState(**app.invoke({"target": float(target)}, context=load_config(Path(config))))


if __name__ == "__main__":
    found = main(*sys.argv[1:])
    print(f"accuracy {found['accuracy']:.1%} with {found.get('adapter') or 'the untouched student'}")
