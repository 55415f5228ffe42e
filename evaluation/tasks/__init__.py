"""One benchmark per file. `registry.make_task` makes them by name."""
