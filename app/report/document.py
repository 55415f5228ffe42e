"""The run as one HTML file that stands alone: no script, no font, no address outside it."""

from pathlib import Path

import jinja2

from pada_agent.app.adapters.artifacts import write_atomically
from pada_agent.app.report import tables
from pada_agent.graph.summary import RunSummary


def write_report(summary: RunSummary, folder: Path) -> Path:
    """Write `report.html` into the run's folder."""
    return write_atomically(folder / "report.html", render_report(summary, folder))


def render_report(summary: RunSummary, folder: Path) -> str:
    """The page; all that models or data wrote is escaped."""
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
    )
    header, *arms = tables.arm_rows(summary)
    return environment.get_template("report.html.j2").render(
        summary=summary, folder=folder, header=header, arms=arms, tables=tables
    )
