"""Rows as people hold them, read one way for a whole file."""
