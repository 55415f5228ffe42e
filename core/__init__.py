"""The ground every other room stands on: records, configuration, errors and ports."""
