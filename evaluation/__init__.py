"""What counts as right: tasks, verifiers, the sandbox, contamination and statistics. No torch."""
