"""What langgraph.json names: the graph with the standard wiring, for `langgraph dev` and Studio."""

from pada_agent.app.wiring import connect
from pada_agent.graph.builder import build_graph

graph = build_graph(connect)
