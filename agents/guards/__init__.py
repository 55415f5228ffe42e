"""Checks that reject a row, or cut text from a strategy, without asking an LLM: leaks, repeats and labels that do not fit."""
