"""Greedy generation: static batching, continuous batching, prompt lookup, CUDA graphs."""
