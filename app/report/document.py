"""The report of a run as a single HTML file, without fonts, images or addresses outside it. It works without its one script."""

import base64
import hashlib
from pathlib import Path

import jinja2
from markupsafe import Markup

from pada_agent.app import text
from pada_agent.app.adapters.storage.artifacts import write_atomically
from pada_agent.app.report import charts, tables
from pada_agent.app.report.data import ReportData, describe_run
from pada_agent.app.report.reading import read_files
from pada_agent.app.report.sections import draw_sections
from pada_agent.app.run_folder import layout
from pada_agent.core.ports import ArtifactStore
from pada_agent.graph.summary import RunSummary

HERE = Path(__file__).parent


def rebuild_report(folder: Path) -> RunSummary:
    """Write the report of the run in `folder` again. For an unfinished run, with what there is so far.

    Raises:
        ArtifactError: this is not a run's folder, nothing has been measured yet, it is damaged, or it cannot be written
            to.
    """
    summary = summarize_folder(folder)
    write_report(summary, folder, is_finished=layout.is_finished(folder))
    return summary


def summarize_folder(folder: Path) -> RunSummary:
    """The summary of the run in `folder`, or of what there is so far.

    Raises:
        ArtifactError: this is not a run's folder, nothing has been measured yet, or it is damaged.
    """
    if layout.is_finished(folder):
        return layout.load_summary(folder)
    from pada_agent.app.report.unfinished import summarize_unfinished

    return summarize_unfinished(folder)


def write_report(
    summary: RunSummary, folder: Path, *, is_finished: bool = True, store: ArtifactStore | None = None
) -> Path:
    """Write `report.html` into the run's folder.

    Args:
        store: where the run's objects are. None: in its folder.
    """
    data = describe_run(read_files(summary, folder, is_finished=is_finished, store=store))
    return write_atomically(folder / layout.REPORT, render_report(data))


def render_report(data: ReportData) -> str:
    """The page. Everything that models or data wrote is escaped, and characters that hide or reverse text are made visible."""
    environment = jinja2.Environment(
        autoescape=True,
        finalize=_finalize,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=jinja2.FileSystemLoader(HERE),
    )
    script = (HERE / "report.js").read_text(encoding="utf-8")
    header, *models = tables.model_rows(data.summary)
    values: dict[str, object] = {
        "data": data,
        "summary": data.summary,
        "rows": data.summary.rows,
        "header": header,
        "models": models,
        "tables": tables,
        "text": text,
        "charts": charts,
    }
    return environment.get_template("report.html.j2").render(
        **values,
        sections=draw_sections(data, environment, values),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _finalize(value: object) -> object:
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return text.show_unseen(value)
