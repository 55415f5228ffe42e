"""Shared by all tests."""

import os

from hypothesis import HealthCheck, settings

# Threads cost tiny arrays more than they bring, most of all on a busy machine. Read when numpy or torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A busy machine makes examples slow; that is no fault of the code under test.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("default")
