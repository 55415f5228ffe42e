"""Derives queries, and their questions, from those of training rows, for the task `sql`."""
