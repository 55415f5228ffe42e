"""What `make bench` measures: one benchmark per file, with `run(options) -> Outcome`."""
