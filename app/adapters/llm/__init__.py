"""Chat models: providers, limits, the reply cache and the embedded engine."""
