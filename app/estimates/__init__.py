"""What a run or an experiment will take, before it starts: calls, tokens, hours and GPUs."""
