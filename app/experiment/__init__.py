"""Methods compared over tasks, sizes and seeds: the grid, its runs, and their table."""
