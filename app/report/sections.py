"""The sections of the report. Built-in ones are templates; those of other packages render the data themselves."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jinja2
from markupsafe import Markup

from pada_agent.app.report.data import ReportData
from pada_agent.core.plugins import REPORT_SECTIONS, find_installed


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
    """Every section that has something to show.

    Raises:
        ConfigError: an installed package's entry point is not a `ReportSection`.
    """
    ours = [
        Drawn(name, title, Markup(environment.get_template(f"sections/{name}.html.j2").render(values)))
        for name, title in BUILT_IN
    ]
    installed = find_installed(REPORT_SECTIONS, accept=lambda found: isinstance(found, ReportSection))
    theirs = [Drawn(section.id, section.title, _draw(section, data)) for section in installed]
    return [drawn for drawn in (*ours, *theirs) if drawn.html.strip()]


def _draw(section: ReportSection, data: ReportData) -> Markup:
    """The rendered section. One that fails says so, and does not affect the others."""
    try:
        return Markup(section.render(data))
    except Exception as exc:  # noqa: BLE001 - somebody else's code: its fault is not the run's
        return Markup('<p class="soft">This section could not be drawn: {}: {}</p>').format(type(exc).__name__, exc)
