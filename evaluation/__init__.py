"""Decides what counts as right: tasks, verifiers, the sandbox, overlap checks and statistics. Does not import torch."""
