"""A run's folder: its layout, lock, checkpoints and events."""
