"""The `pada` command. Everything heavy is imported inside commands, so that `pada --help` answers at once."""

import io
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from pada_agent.app.streams import open_closed
from pada_agent.app.terminal.arguments import (
    Overrides,
    find_place,
    quote,
    read_n_at_once,
    read_seed,
    split_list,
    word_experiment,
)
from pada_agent.app.terminal.console import (
    choose_allowance,
    choose_answer,
    echo,
    echo_error,
    open_screen,
    report_outcome,
)
from pada_agent.app.terminal.estimating import estimate
from pada_agent.app.terminal.models import models

if TYPE_CHECKING:
    from pada_agent.core.config import RunConfig


NEVER_WRAPPED = 10_000
"""Width of output that is not a terminal: every sentence stays on one line, so that it can be searched."""


class Commands(TyperGroup):
    """Turns errors that a user can fix into one message and exit code 2, and an interruption into exit code 130."""

    def invoke(self, ctx: Any) -> Any:
        from pada_agent.core.errors import PadaError
        from pada_agent.core.machine import add_waiting

        os.environ.update(add_waiting(os.environ))
        try:
            return super().invoke(ctx)
        except PadaError as exc:
            echo_error(f"Error: {exc}\n{exc.way_on}".rstrip())
            raise typer.Exit(2) from exc
        except KeyboardInterrupt as exc:
            echo_error(f"Interrupted; {exc}" if str(exc) else "Interrupted.")
            raise typer.Exit(130) from exc


app = typer.Typer(
    cls=Commands,
    help="Improves small language models by learning from their failures.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
settings = typer.Typer(help="Show settings.", no_args_is_help=True)
app.add_typer(models, name="models")
app.add_typer(settings, name="config")

ConfigFile = Annotated[Path, typer.Argument(metavar="CONFIG", help="YAML file with the settings.")]
RunFolder = Annotated[Path, typer.Argument(metavar="DIR", help="A run's folder.")]


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        echo(f"pada-agent {version('pada-agent')}")
        raise typer.Exit


@app.callback()
def show_version(
    _: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Improves small language models by learning from their failures."""


@app.command()
def run(
    config: ConfigFile,
    overrides: Overrides = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder for the run. Default: runs/NAME.")] = None,
    review: Annotated[
        bool, typer.Option("--review", help="Wait for your review after the strategies are drafted.")
    ] = False,
    arm: Annotated[
        str | None, typer.Option(metavar="NAME", help="Use the settings of a method, such as auggpt or pada_paper.")
    ] = None,
) -> None:
    """Run the whole loop, or continue it if its folder exists."""
    chosen = _load(config, [*(overrides or []), *["review.strategies=true"] * review], out, arm)
    # Before the imports below, which take seconds.
    echo_error(f"{Path(chosen.runs_folder) / chosen.name}: {chosen.task.name} with {chosen.student.model}")
    with open_screen() as display:
        from pada_agent.app.runs import driver

        outcome = driver.start_run(chosen, on_event=display, answer=choose_answer(display))
    report_outcome(outcome)


@app.command()
def resume(
    folder: RunFolder,
    answer: Annotated[
        Path | None, typer.Option(metavar="FILE.json", help="File with the answer that the run is waiting for.")
    ] = None,
    overrides: Overrides = None,
    send_keys: Annotated[
        bool, typer.Option("--send-keys", help="Send keys to the addresses in its settings without asking.")
    ] = False,
) -> None:
    """Continue an interrupted or waiting run; show a finished one.

    With --set it starts over with the changed setting and reuses finished work that does not depend on it.
    """
    from pada_agent.app.runs import driver
    from pada_agent.app.terminal import answers
    from pada_agent.core.config_files import change_config

    changed = (lambda config: change_config(config, overrides)) if overrides else None
    with open_screen() as display:
        reply = answers.answer_from_file(answer) if answer else choose_answer(display)
        allow = (lambda _: True) if send_keys else choose_allowance(display)
        outcome = driver.resume_run(folder, on_event=display, answer=reply, changed=changed, allow_keys=allow)
    report_outcome(outcome)


@app.command()
def check(
    config: ConfigFile,
    overrides: Overrides = None,
    probe: Annotated[bool, typer.Option(help="Ask the teacher one short question in each role.")] = True,
) -> None:
    """Show how rows are read and everything that would stop a run, in seconds and without creating a run folder.

    The exit code is 2 if a run would be refused.
    """
    from pada_agent.app.runs.checking import check_run
    from pada_agent.app.terminal.check import render_check

    chosen = _load(config, overrides)
    report = check_run(chosen, probe=probe, say=lambda text: echo_error(f"… {text}"))
    styled = sys.stdout.isatty()
    width = shutil.get_terminal_size((NEVER_WRAPPED, 0)).columns
    echo(render_check(report, chosen, width=width, styled=styled), nl=False, styled=styled)
    if report.stops:
        raise typer.Exit(2)


app.command()(estimate)


@app.command()
def evaluate(
    config: ConfigFile,
    overrides: Overrides = None,
    adapter: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Adapter folder or hub:owner/name[@revision]; default: the untouched model."),
    ] = None,
    split: Annotated[Literal["validation", "test"], typer.Option(help="Rows to evaluate on.")] = "validation",
) -> None:
    """Evaluate one model on one split."""
    from pada_agent.app.results.hub import find_adapter
    from pada_agent.app.results.model_export import doubt_base
    from pada_agent.app.runs import evaluate_model
    from pada_agent.app.runs.adapter_prompts import doubt_prompts

    chosen = _load(config, overrides)
    folder = find_adapter(adapter) if adapter is not None else None
    if folder:
        doubts = doubt_base(folder, chosen.student.model), doubt_prompts(folder, chosen)
        for doubt in filter(None, doubts):
            echo_error(doubt)
    with open_screen() as display:
        metrics = evaluate_model.evaluate_model(chosen, adapter=folder, split=split, on_event=display)
    echo(evaluate_model.describe_metrics(metrics, split=split))


@app.command()
def report(
    folder: RunFolder,
    embedders: Annotated[
        list[str] | None,
        typer.Option(
            "--embedder",
            metavar="NAME",
            help="Also group the errors with this embedder and show how well the groups agree; can be used several times.",
        ),
    ] = None,
) -> None:
    """Write the report of a run again and print its table; works for unfinished runs, too."""
    from pada_agent.app.report import document
    from pada_agent.app.terminal.summary import render_summary

    if embedders:
        from pada_agent.app.report.regrouping import compare_embedders

        compare_embedders(folder, embedders)
    echo(render_summary(document.summarize_folder(folder), folder), nl=False)
    document.rebuild_report(folder)  # last: the table is for whoever may not write here, too


@app.command()
def export(
    source: Annotated[
        str, typer.Argument(metavar="DIR", help="Folder of a finished run or an adapter, or hub:owner/name.")
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="New folder to write to.")],
    what: Annotated[
        Literal["model", "data"],
        typer.Option(help="model: the merged model. data: the synthetic rows with provenance and a data card."),
    ] = "model",
    format: Annotated[
        Literal["safetensors", "gguf"], typer.Option(help="gguf needs a student that is a GGUF file.")
    ] = "safetensors",
    student: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Base model or OWNER/NAME@REVISION; default: the one named in DIR."),
    ] = None,
    license: Annotated[str, typer.Option(metavar="ID", help="License to state on the data card.")] = "unknown",
) -> None:
    """Merge the adapter into its student and check the written model, or write the synthetic rows as a data set."""
    from pada_agent.app.results import data_export, model_export
    from pada_agent.app.results.hub import find_adapter
    from pada_agent.core.errors import ConfigError

    if license != "unknown" and what != "data":
        raise ConfigError("--license goes on the data card. Use it with --what data.")
    if what == "data":
        echo(data_export.describe_data(data_export.export_data(Path(source), out=out, license=license)))
        return
    with open_screen() as display:
        report = model_export.export_model(
            find_adapter(source), format=format, out=out, on_event=display, student=student
        )
    echo(model_export.describe_export(report))


@app.command()
def push(
    source: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a finished run or an adapter.")],
    repo: Annotated[
        str, typer.Argument(metavar="OWNER/NAME", help="Repository on the hub; created if it does not exist.")
    ],
    what: Annotated[
        Literal["model", "data"], typer.Option(help="model: the best adapter. data: the synthetic rows.")
    ] = "model",
    public: Annotated[bool, typer.Option("--public", help="Make it public; by default it is private.")] = False,
    license: Annotated[str, typer.Option(metavar="ID", help="License to state on the card.")] = "unknown",
    base: Annotated[
        str | None, typer.Option(metavar="OWNER/NAME", help="The student on the hub, if it was a local file or folder.")
    ] = None,
) -> None:
    """Push the best adapter or the synthetic rows, with a card, to the Hugging Face hub; private by default."""
    from pada_agent.app.results import hub
    from pada_agent.core.errors import ConfigError

    if base is not None and what == "data":
        raise ConfigError("--base goes on the adapter's card. Leave it out with --what data.")
    pushed = hub.push(source, repo, what=what, public=public, license=license, base=base)
    echo(hub.describe_pushed(pushed))


@app.command()
def track(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a finished run.")],
    to: Annotated[
        Literal["mlflow", "wandb", "tensorboard"],
        typer.Option(help="Tracker. Needs the extra of that name, such as pada-agent[mlflow]."),
    ],
) -> None:
    """Log a run to an experiment tracker: settings, metrics of each model, training loss, the report."""
    from pada_agent.app.results import trackers

    echo(trackers.track_run(folder, to=to))


@app.command()
def experiment(
    grid: Annotated[Path, typer.Argument(metavar="GRID", help="YAML file with tasks, sizes, arms and seeds.")],
    headroom: Annotated[
        bool,
        typer.Option(
            "--headroom",
            help="Run only the untouched student, plain fine-tuning and the oracle: is there headroom? No LLM writes anything.",
        ),
    ] = False,
    power: Annotated[
        bool,
        typer.Option(
            "--power",
            help="Show the smallest true difference that these test rows, arms and seeds could detect, and run nothing.",
        ),
    ] = False,
    arms: Annotated[
        str | None, typer.Option(metavar="A,B", help="Run only these arms; other processes can run the others.")
    ] = None,
    seeds: Annotated[str | None, typer.Option(metavar="0,1", help="Run only these seeds, as with --arms.")] = None,
    parallel: Annotated[str, typer.Option(metavar="N", help="Number of runs at the same time.")] = "1",
) -> None:
    """Compare methods: run every combination that is not finished yet, then print the table.

    With --arms or --seeds, several processes can share the work and the experiment's folder; the same command without
    them then writes the tables.
    """
    from pada_agent.app.adapters.storage.datasets import FileDatasets
    from pada_agent.app.experiment.grid import Part, load_grid
    from pada_agent.app.experiment.running import describe_power, run_experiment
    from pada_agent.app.experiment.tables import render_result
    from pada_agent.core.errors import ConfigError

    if power and headroom:
        raise ConfigError("--power is about test rows, which --headroom does not read. Use one of them.")
    n_at_once = read_n_at_once(parallel)
    part = Part(
        arms=tuple(split_list("--arms", arms)), seeds=tuple(read_seed(text) for text in split_list("--seeds", seeds))
    )
    loaded = load_grid(grid)
    if power:
        echo(describe_power(loaded, FileDatasets(), part), nl=False)
        return
    with open_screen() as display:
        result = run_experiment(
            loaded,
            part,
            command=word_experiment(grid, headroom, arms, seeds, n_at_once),
            headroom_only=headroom,
            on_event=display,
            say=echo_error,
            n_at_once=n_at_once,
        )
    echo(render_result(result), nl=False)


@app.command()
def compare(folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Finished runs' folders.")]) -> None:
    """Compare finished runs side by side, with paired tests on their test rows."""
    from pada_agent.app.experiment import compare_runs

    echo(compare_runs.describe_runs(compare_runs.compare_runs(folders)), nl=False)


@settings.command("show")
def show_config(
    config: Annotated[Path | None, typer.Argument(metavar="[CONFIG]", help="Default: built-in settings.")] = None,
    overrides: Overrides = None,
) -> None:
    """Print all settings, including the defaults."""
    from pada_agent.app.run_folder.layout import dump_config

    echo(dump_config(_load(config, overrides)), nl=False)


def main() -> None:
    """Entry point of the `pada` command."""
    open_closed()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr: a terminal without our characters is no error
    app()


def _load(
    path: Path | None, overrides: list[str] | None, out: Path | None = None, arm: str | None = None
) -> "RunConfig":
    from pada_agent.core.config_files import apply_override, load_config, parse_local_config

    overrides = overrides or []
    given = {override.partition("=")[0] for override in overrides}
    options: dict[str, str] = {}
    changes: dict[str, Any] = {}
    if arm is not None:
        from pada_agent.app.experiment.methods import find_method

        changes = find_method(arm).settings
        options |= {key: f"--arm {arm}" for key in changes if key not in given}
    if out is not None:
        place = find_place(out, given)
        options |= dict.fromkeys(place, f"--out {out}")
        overrides = [*overrides, *(f"{key}={quote(value)}" for key, value in place.items())]
    if path is not None:
        return load_config(path, overrides, changes=changes, options=options)
    values: dict[str, Any] = {}
    for override in overrides:
        values = apply_override(values, override)
    return parse_local_config(values, origin="--set", options=options)


if __name__ == "__main__":
    main()
