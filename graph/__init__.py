"""The state machine: typed shared state, thin nodes, pure routing, one builder."""
