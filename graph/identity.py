"""What tells runs apart that have the same folder."""

import hashlib

from pada_agent.core.config import BudgetConfig, RunConfig
from pada_agent.graph.state import DataSplits

_ANYWHERE = {"name": "run", "runs_folder": "runs", "budget": BudgetConfig()}
"""Settings that may differ while a run stays the same."""


def identify(settings: RunConfig, data: DataSplits) -> str:
    """Short hash of the settings that decide a run's result, and of its real rows."""
    decisive = settings.model_copy(update=_ANYWHERE).model_dump_json(exclude_defaults=True)
    rows = [ref.key if ref else "" for ref in (data.train, data.validation, data.test, data.held_back)]
    return hashlib.sha256("\n".join([decisive, *rows]).encode()).hexdigest()[:16]
