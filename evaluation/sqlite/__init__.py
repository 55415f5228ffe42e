"""Runs queries that a model wrote on SQLite databases, read-only, in a process of their own."""
