"""Reads rows in the formats that people have them in, in one way for a whole file."""
