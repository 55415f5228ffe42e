"""A run's folder: its layout, its lock, its checkpoints and events."""
