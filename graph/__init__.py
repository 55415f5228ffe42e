"""The state machine: one typed shared state, thin nodes, pure routing functions, and one builder."""
