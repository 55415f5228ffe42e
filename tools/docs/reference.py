"""Writes the reference pages that are generated from the code.

python -m tools.docs.reference          writes docs/reference/*.md and docs/how-it-works/graph.md
"""

import inspect
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

import pada_agent
from pada_agent.core.config import RunConfig
from pada_agent.core.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"

PUBLIC_NAMES = {
    "Runs": (
        *(
            "build_graph",
            "load_config",
            "RunConfig",
            "TaskConfig",
            "run",
            "resume",
            "RunOutcome",
            "Question",
            "OnEvent",
        ),
        *(
            "RunEvent",
            "RunSummary",
            "evaluate_model",
            "connect",
            "Connect",
            "Adapters",
            "bring_chat_model",
            "make_serializer",
        ),
    ),
    "Tasks": (
        *("Task", "DraftProblem", "Example", "Prediction", "Verdict", "MultipleChoice", "ExactMatch", "ExtractiveQa"),
        *("Numeric", "Code", "Sql", "Judge"),
    ),
    "Methods and generation recipes": ("Method", "find_method", "Recipe"),
    "Guards": ("Guard", "GuardContext", "Refusal"),
    "Report": ("ReportSection", "ReportData"),
    "Language models": ("LanguageModel", "ChatRequest", "ChatReply", "Usage", "PromptedModel", "StructuredReply"),
    "Data, storage and compute": (
        *("DatasetSource", "RawRow", "Embedder", "ArtifactStore", "Compute", "FineTuneJob", "PredictJob", "ExportJob"),
        *("TokenizerJob", "TokenizerFacts", "TokenCounter", "ChatSpec", "LoraSpec", "Progress"),
    ),
    "Errors": (
        *(
            "PadaError",
            "ConfigError",
            "DatasetError",
            "PartError",
            "PromptError",
            "ModelUnavailableError",
            "StructuredOutputError",
        ),
        *("AgentError", "BudgetExceededError", "LeakageError", "EvaluationError", "SandboxError", "TrainingError"),
        *("NonFiniteLossError", "ArtifactError"),
    ),
}
"""All public names, by what they are for."""


IN_WORDS = """Every agent is a node over one typed shared state (`graph/state.py`). A run goes through these nodes:

1. `prepare` reads and checks the rows, and `evaluate_untouched` measures the student as it is.
2. `review_cost` asks a person if the fine-tuning is expected to take too long, `fine_tune` trains, and `evaluate` measures the new model. The run then ends with `finish`, or goes on with an iteration.
3. `collect_errors` opens the iteration. Two branches then run side by side. Both need the student's answers to the training rows before they plan batches, because these decide how many rows each of them writes; analysis does not wait for that.
    - `generalization_branch`: `error_analysis`, `pattern_categorization`, `strategy_drafting`, `review_strategies`, `leak_guard`, and `pattern_synthesis` for each batch of rows.
    - `training_error_branch`: `training_errors`, and `error_synthesis` for each batch of rows.
4. `augment` joins the accepted rows of both branches. While rows are missing, `top_up` plans new batches (`plan_top_up`), has them written (`top_up_synthesis`), and returns to `augment`.
5. `review_data` asks a person about the rows, if the settings say so. The run continues with step 2, or ends if no row was accepted.

Every synthesis writes and checks one batch on its own: `data_generation`, `label_verification`, `answer_verification`, `quality_control`. Rejected rows go back to `data_generation` while attempts are left; then `record_batch` stores the result.
"""


def render_pages() -> dict[str, str]:
    """The text of each page, by its path in `docs`."""
    return {
        "reference/settings.md": render_settings(),
        "reference/command-line.md": render_commands(),
        "reference/python.md": render_names(),
        "how-it-works/graph.md": render_graph(),
    }


def write_pages() -> list[Path]:
    """Write all pages. Returns their paths."""
    pages = render_pages()
    for name, text in pages.items():
        (DOCS / name).write_text(text, encoding="utf-8")
    return [DOCS / name for name in pages]


def render_settings() -> str:
    """Every setting with its type, default and meaning, by group."""
    intro = (
        "# Settings\n\nWritten by `python -m tools.docs.reference` from `core/config.py`; `pada config show CONFIG`"
        " prints them with the values of a file. Change one for a run with `--set group.name=value`.\n"
    )
    return intro + "\n".join(_render_group(name, group) for name, group in _groups(RunConfig, "")) + "\n"


def _groups(kind: type[BaseModel], prefix: str) -> Iterator[tuple[str, type[BaseModel]]]:
    yield prefix.rstrip("."), kind
    for name, field in kind.model_fields.items():
        if inspect.isclass(field.annotation) and issubclass(field.annotation, BaseModel):
            if field.annotation.__name__ == "ModelConfig" and name != "analyst":
                continue
            yield from _groups(field.annotation, f"{prefix}{name}.")


def _render_group(name: str, kind: type[BaseModel]) -> str:
    title = (
        "The run"
        if not name
        else "models.analyst, models.generator, models.judge"
        if name == "models.analyst"
        else name
    )
    rows = [_render_field(key, field) for key, field in kind.model_fields.items()]
    rows = [row for row in rows if row]
    about = inspect.cleandoc(kind.__doc__ or "").split("\n\n")[0].replace("\n", " ")
    table = "\n".join(["| setting | type | default | meaning |", "|---|---|---|---|", *rows])
    return f"\n## {title}\n\n{about}\n\n{table}" if rows else f"\n## {title}\n\n{about}"


def _render_field(name: str, field: FieldInfo) -> str:
    if inspect.isclass(field.annotation) and issubclass(field.annotation, BaseModel):
        return ""
    default = "required" if field.is_required() else f"`{_in_yaml(field.get_default(call_default_factory=True))}`"
    cells = [f"`{name}`", _render_type(field.annotation), default, field.description or ""]
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _render_type(kind: Any) -> str:
    """The values of a choice, the types of a union; any other type as in the code, without its limits."""
    origin = get_origin(kind)
    if origin is Literal:
        return ", ".join(f"`{_in_yaml(value)}`" for value in get_args(kind))
    if origin is Annotated:
        return _render_type(get_args(kind)[0])
    if origin in (Union, UnionType):
        return " or ".join("`null`" if part is NoneType else _render_type(part) for part in get_args(kind))
    return f"`{inspect.formatannotation(kind).replace('typing.', '').replace(' | ', ' or ')}`"


def _in_yaml(value: Any) -> str:
    """The default as it would be written in a settings file."""
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    value = list(value) if isinstance(value, tuple) else value
    text = (
        yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True).removesuffix("...\n").strip()
    )
    return '""' if value == "" else text


def render_commands() -> str:
    """`--help` of every command."""
    from pada_agent.app.cli import app

    group = typer.main.get_command(app)
    lines = ["# Command line", "", "Written by `python -m tools.docs.reference` from `app/cli.py`.", ""]
    lines += [
        "Exit codes: 0: done; 2: an error that you can fix, explained in one message; 130: interrupted; 1: a bug.",
        "",
    ]
    for name, command in sorted(_commands(group, "pada")):
        lines += [f"## {name}", "", inspect.cleandoc(command.help or ""), ""]
        options = [_render_parameter(parameter) for parameter in command.params if parameter.name != "help"]
        lines += ["| parameter | meaning |", "|---|---|", *options, ""] if options else []
    return "\n".join(lines).rstrip() + "\n"


def _commands(group: object, prefix: str) -> Iterator[tuple[str, typer.core.TyperCommand]]:
    for name, command in getattr(group, "commands", {}).items():
        if hasattr(command, "commands"):
            yield from _commands(command, f"{prefix} {name}")
        else:
            yield f"{prefix} {name}", command


def _render_parameter(parameter: object) -> str:
    names = getattr(parameter, "opts", []) + getattr(parameter, "secondary_opts", [])
    is_option = any(name.startswith("-") for name in names)
    choices = getattr(getattr(parameter, "type_descriptor", None), "choices", None) or ()
    metavar = getattr(parameter, "metavar", None) or (f"{{{','.join(choices)}}}" if choices else "")
    shown = ", ".join(names) if is_option else metavar or (getattr(parameter, "name", "") or "").upper()
    meaning = (getattr(parameter, "help", None) or "").replace("|", "\\|").replace("\n", " ")
    default = getattr(parameter, "default", None)
    if is_option and getattr(parameter, "required", False):
        meaning += " Required."
    elif is_option and isinstance(default, str) and default:
        meaning += f" Default: `{default}`."
    elif default is True:
        meaning += f" Default: `{names[0]}`."
    return f"| `{shown}{' ' + metavar if is_option and metavar else ''}` | {meaning} |"


def render_names() -> str:
    """The public names by what they are for, each with its signature and docstring."""
    lines = ["# Python", "", "Written by `python -m tools.docs.reference` from `pada_agent/__init__.py`.", ""]
    lines += ["Everything below can be imported from `pada_agent`. Nothing else is public.", ""]
    lines += ["The site (`make docs`) shows signatures and docstrings here; so does `help(pada_agent.NAME)`.", ""]
    for title, names in PUBLIC_NAMES.items():
        lines += [f"## {title}", ""]
        for name in names:
            value = getattr(pada_agent, name)
            if inspect.isclass(value) or inspect.isfunction(value):
                lines += [f"::: pada_agent.{name}", ""]
            if inspect.isclass(value) and issubclass(value, Settings):
                lines[-1:] = ["    options: {members: false}", "", "Its fields are [settings](settings.md).", ""]
    return "\n".join(lines).rstrip() + "\n"


def render_graph() -> str:
    """The drawing of the compiled graph."""
    drawing = pada_agent.build_graph().compile().get_graph(xray=True).draw_mermaid()
    return (
        f"# The graph\n\n{IN_WORDS}\n## As LangGraph draws it\n\nWritten by `python -m tools.docs.reference`. The arrow from `quality_control`"
        " back to `data_generation` is the regeneration loop; the one from `review_data` through `review_cost` to `fine_tune`"
        " is the outer loop. Your browser draws the diagram with Mermaid, which it loads from unpkg.com. Without a network"
        f" you see its source.\n\n```mermaid\n{drawing.strip()}\n```\n"
    )


if __name__ == "__main__":
    for path in write_pages():
        print(path.relative_to(ROOT))
