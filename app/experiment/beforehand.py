"""What would stop a later run of an experiment, found before the first one starts: by then, hours may have passed and money been spent."""

from collections.abc import Sequence

from pada_agent.app.experiment.grid import Cell, group_cells
from pada_agent.app.prerequisites import find_missing
from pada_agent.app.run_folder import claiming, layout
from pada_agent.core.errors import ConfigError
from pada_agent.core.wording import agree, list_some
from pada_agent.evaluation.rows.findings import Finding
from pada_agent.graph.data_check import refuse


def refuse_early(cells: Sequence[Cell]) -> None:
    """Check that every run may go on, or start, in its folder, and that what the unfinished ones need is there.

    Raises:
        PadaError: lists everything that is in the way.
    """
    if changed := _list_changed(cells):
        raise ConfigError("\n".join(changed))
    refuse(_find_missing(cells))


def _list_changed(cells: Sequence[Cell]) -> list[str]:
    """One line for all runs that are there with settings, rows or models that differ in the same way."""
    runs: dict[tuple[str, ...], list[str]] = {}
    for folder, config in {cell.folder: cell.config for cell in cells}.items():
        if differ := claiming.find_conflicts(folder, config):
            runs.setdefault(tuple(differ), []).append(str(folder))
    return [
        f"{list_some(folders)}: {agree(len(folders), 'is a run', 'are runs')} with other settings than the grid's now"
        f" ({', '.join(differ)}). Put the old ones back, give the arm or the grid another name, or delete the"
        f" {agree(len(folders), 'folder', 'folders')}: what it shares with others is found again."
        for differ, folders in runs.items()
    ]


def _find_missing(cells: Sequence[Cell]) -> list[Finding]:
    """Seeds need the same."""
    unfinished = (
        next((c for c in of_arm if not layout.is_finished(c.folder)), None) for of_arm in group_cells(cells).values()
    )
    found = [finding for cell in unfinished if cell for finding in find_missing(cell.config)]
    return list({finding.text: finding for finding in found}.values())
