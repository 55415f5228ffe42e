"""Data Generation Agent: decides which rows to write and what to base them on, and has them written."""
