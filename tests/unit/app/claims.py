"""Runs' folders that nobody works in yet."""

from pada_agent.app.run_folder.claiming import Claim, claim_folder
from pada_agent.core.config import RunConfig


def claim(config: RunConfig) -> Claim:
    """Claim the run's folder and leave it, as a process does that is killed at once."""
    with claim_folder(config) as found:
        return found
