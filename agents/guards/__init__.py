"""What stops a row or a strategy without asking an LLM: leaks, repeats, labels that do not fit."""
