"""Compares methods over tasks, sizes and seeds: the grid, its runs, and the result table."""
