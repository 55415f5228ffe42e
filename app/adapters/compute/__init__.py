"""Compute backends: where fine-tuning and prediction jobs run."""
