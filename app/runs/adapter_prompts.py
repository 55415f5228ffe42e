"""Whether an adapter is evaluated with the prompts that it was trained with."""

from pathlib import Path

from pada_agent.app.run_folder import layout
from pada_agent.core.config import RunConfig
from pada_agent.core.errors import PadaError

N_ABOVE = 3
"""Number of folders in which a run's folder is looked for, upward from its adapter: `best/` is one below it, `iterations/1/adapter` three."""
SHOWN_BY_STUDENT = (
    *("system", "chat_template", "template_arguments", "control_tokens_in_rows", "thoughts"),
    "load_in",
)
SHOWN_BY_TASK = ("name", "answers", "instruction", "no_answer", "sample_values", "show_tables")


def doubt_prompts(adapter: Path, config: RunConfig) -> str:
    """A warning that the run which trained the adapter showed its student rows in another form. Empty if it did not, or if the adapter is no
    longer in a run's folder."""
    try:
        found = next((f for f in adapter.absolute().parents[:N_ABOVE] if layout.is_finished(f)), None)
        trained = layout.load_run_config(found) if found else config
    except PadaError:  # nothing is known, then
        return ""
    shown, learned = _list_shown(config), _list_shown(trained)
    differ = [key for key in shown if shown[key] != learned[key]]
    if not differ:
        return ""
    return (
        f"Warning: {adapter} was trained with {', '.join(differ)} of another value than in these settings, so it sees its rows in a form that it"
        f" was not trained on. The settings of its run are in {found}/{layout.CONFIG}."
    )


def _list_shown(config: RunConfig) -> dict[str, object]:
    """The settings that decide the form in which the student sees a row, and how its weights are kept."""
    student, task = config.student.model_dump(), config.task.model_dump()
    shown = {f"student.{name}": student[name] for name in SHOWN_BY_STUDENT}
    shown |= {f"task.{name}": task[name] for name in SHOWN_BY_TASK}
    return shown | {"task.labels": list(config.task.labels)}
