"""What `make bench` measures: each file one benchmark, with `run(options) -> Outcome`."""
