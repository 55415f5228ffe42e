"""The nodes, one stage a file. A node reads state, calls a port or an agent, and returns a partial state."""
