"""One benchmark a file; `registry.make_task` builds them by name."""
