"""What LLMs do: analyse failures, draft strategies, write data, judge it. No torch, no graph, no files."""
