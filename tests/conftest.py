"""Shared by all tests."""

from hypothesis import HealthCheck, settings

# A busy machine makes examples slow; that is no fault of the code under test.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("default")
