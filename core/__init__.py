"""What every other package builds on: records, configuration, errors and ports."""
