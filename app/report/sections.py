"""The sections of the report. Built-in ones are templates; those of other packages render the data themselves."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jinja2
from markupsafe import Markup

from pada_agent.app.report.data import ReportData
from pada_agent.core.plugins import REPORT_SECTIONS, find_part, list_installed
from pada_agent.core.returned import check_returned


@dataclass(frozen=True)
class ReportSection:
    """A section from another package (entry point group `pada_agent.report_sections`), shown after the built-in ones."""

    id: str
    """Id of the section in the page, which makes its address `report.html#id`."""
    title: str
    render: Callable[[ReportData], str]
    """Returns the content as HTML. Escape everything that models or data wrote; scripts do not run. An empty text leaves the section out."""


class Drawn(NamedTuple):
    """A section, ready for the page."""

    id: str
    title: str
    html: Markup


BUILT_IN: tuple[tuple[str, str], ...] = (
    ("accuracy", "Accuracy"),
    ("patterns", "Error patterns"),
    ("synthetic", "Synthetic rows"),
    ("cost", "Cost and time"),
    ("settings", "Settings and versions"),
)
"""Template in `sections/` and title, in the order of the page. A template that renders to nothing leaves its section out."""


def draw_sections(data: ReportData, environment: jinja2.Environment, values: dict[str, object]) -> list[Drawn]:
    """Every section that has something to show."""
    ours = [
        Drawn(name, title, Markup(environment.get_template(f"sections/{name}.html.j2").render(values)))
        for name, title in BUILT_IN
    ]
    theirs = [_draw(name, data) for name in list_installed(REPORT_SECTIONS)]
    return [drawn for drawn in (*ours, *theirs) if drawn.html.strip()]


def _draw(name: str, data: ReportData) -> Drawn:
    """The section of an installed package. One that does not load or fails says so, and does not affect the others."""
    place = name, name
    try:
        section: ReportSection = find_part(
            name, REPORT_SECTIONS, built_in={}, accept=lambda found: isinstance(found, ReportSection)
        )
        place = section.id, section.title
        return Drawn(*place, Markup(check_returned(section.render(data), str, by="render")))
    except Exception as exc:  # noqa: BLE001 - somebody else's code: its fault is not the run's
        failed = Markup('<p class="soft">This section could not be drawn: {}: {}</p>').format(type(exc).__name__, exc)
        return Drawn(*place, failed)
