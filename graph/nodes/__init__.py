"""The nodes, one file per stage. A node reads the state, calls a port or an agent, and returns a partial state."""
