"""PaDA-Agent as a tool that another LangChain agent calls.

    python examples/embedding/agent_tool.py mytask.yaml gpt-4o-mini "Our router is wrong too often. Can you fix it?"

The agent chooses how long to try; data, models and budget come from the settings. With the package `langchain`, use
`create_agent(model, [make_tool(settings)])` instead of `build_agent`.
"""

import sys
from pathlib import Path
from typing import Annotated, Any

from langchain_core.language_models import BaseChatModel
from langchain_core.tools import BaseTool, tool
from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.prebuilt import ToolNode, tools_condition

from pada_agent import RunConfig, RunSummary, build_graph, load_config

MAX_ITERATIONS = 3


def make_tool(settings: RunConfig) -> BaseTool:
    """A tool over these settings: text for the agent, the whole summary as artifact for the program."""
    graph = build_graph().compile()

    @tool(response_format="content_and_artifact")
    def improve_model(
        iterations: Annotated[int, f"rounds of new data, 1 to {MAX_ITERATIONS}"],
    ) -> tuple[str, RunSummary]:
        """Fine-tune our small model again on data written against its own failures. Takes minutes to hours."""
        loop = settings.loop.model_copy(update={"max_iterations": min(max(1, iterations), MAX_ITERATIONS)})
        named = f"{settings.name}-{loop.max_iterations}"
        run = settings.model_copy(update={"name": named, "loop": loop})
        summary: RunSummary = graph.invoke({}, context=run)["summary"]
        return f"{summary.verdict} The adapter is in {Path(run.runs_folder) / run.name / 'best'}.", summary

    return improve_model


def build_agent(model: BaseChatModel, tools: list[BaseTool]) -> CompiledStateGraph[Any, Any, Any, Any]:
    """A chat model that calls tools until it has an answer."""
    bound = model.bind_tools(tools)
    builder = StateGraph(MessagesState)
    builder.add_node("model", lambda state: {"messages": [bound.invoke(state["messages"])]})
    builder.add_node("tools", ToolNode(tools))
    builder.add_edge(START, "model")
    builder.add_conditional_edges("model", tools_condition)
    builder.add_edge("tools", "model")
    return builder.compile()


def main(config: str, model: str, question: str) -> str:
    agent = build_agent(ChatOpenAI(model=model), [make_tool(load_config(Path(config)))])
    answer = agent.invoke({"messages": [("user", question)]})
    return str(answer["messages"][-1].text)


if __name__ == "__main__":
    print(main(*sys.argv[1:]))
