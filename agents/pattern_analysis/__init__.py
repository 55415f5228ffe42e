"""The Pattern Analysis Agent and its three subagents (paper, section on the generalization branch)."""
