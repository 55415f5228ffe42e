"""Rows, artifacts and models on disk or on the hub."""
