"""The `pada` command. Everything heavy is imported inside commands, so that `pada --help` answers at once."""

import io
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from pada_agent.app.terminal.arguments import quote, read_seed, split_list, word_experiment
from pada_agent.app.terminal.console import (
    choose_allowance,
    choose_answer,
    echo,
    echo_error,
    open_screen,
    report_outcome,
)

if TYPE_CHECKING:
    from pada_agent.core.config import RunConfig


NEVER_WRAPPED = 10_000
"""Columns of what is not a terminal: a sentence stays a line, to be searched."""


class Commands(TyperGroup):
    """Turns what a user can fix into one message and exit code 2, and an interruption into 130."""

    def invoke(self, ctx: Any) -> Any:
        from pada_agent.core.errors import PadaError

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
    help="Makes small language models better with their own failures.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
models = typer.Typer(help="Models that the project can fetch by name.", no_args_is_help=True)
settings = typer.Typer(help="Settings.", no_args_is_help=True)
app.add_typer(models, name="models")
app.add_typer(settings, name="config")

ConfigFile = Annotated[Path, typer.Argument(metavar="CONFIG", help="YAML file with settings.")]
RunFolder = Annotated[Path, typer.Argument(metavar="DIR", help="A run's folder.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="A.B=C", help="Change one setting; may be given several times.")
]


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        echo(f"pada-agent {version('pada-agent')}")
        raise typer.Exit


@app.callback()
def show_version(
    _: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Say which version this is.")
    ] = False,
) -> None:
    """Makes small language models better with their own failures."""


@app.command()
def run(
    config: ConfigFile,
    overrides: Overrides = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="The run's folder, in place of runs/NAME.")] = None,
    review: Annotated[bool, typer.Option("--review", help="Wait for a person after strategies are drafted.")] = False,
    arm: Annotated[str | None, typer.Option(metavar="NAME", help="Settings of a method of docs/arms.md.")] = None,
) -> None:
    """Run the whole loop, or go on with it when its folder is there."""
    from pada_agent.app.experiment.methods import apply_settings, find_method

    chosen = _load(config, [*(overrides or []), *["review.strategies=true"] * review], out)
    if arm:
        chosen = apply_settings(chosen, find_method(arm).settings, origin=f"--arm {arm}")
    from pada_agent.app.runs import driver

    with open_screen() as display:
        outcome = driver.start_run(chosen, on_event=display, answer=choose_answer(display))
    report_outcome(outcome)


@app.command()
def resume(
    folder: RunFolder,
    answer: Annotated[
        Path | None, typer.Option(metavar="FILE.json", help="Answer to the question that the run waits for.")
    ] = None,
    overrides: Overrides = None,
    send_keys: Annotated[
        bool, typer.Option("--send-keys", help="Send keys to the addresses that its settings name, without asking.")
    ] = False,
) -> None:
    """Go on with an interrupted or waiting run; show a finished one.

    With --set it starts over with that setting changed, and finds again what is finished and does not depend on it.
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
    """Show how rows are read, and all that stops a run: before it starts, in seconds, with no run's folder touched.

    Ends with exit code 2 where a run would be refused.
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


@app.command()
def estimate(config: ConfigFile, overrides: Overrides = None) -> None:
    """Say what a run may cost, without running it."""
    from pada_agent.app.adapters.storage.datasets import FileDatasets
    from pada_agent.app.runs import estimate

    chosen = _load(config, overrides)
    counts = estimate.count_rows(chosen, FileDatasets())
    echo(estimate.describe_estimate(estimate.estimate_run(chosen, counts)))


@app.command()
def evaluate(
    config: ConfigFile,
    overrides: Overrides = None,
    adapter: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Adapter, also hub:owner/name[@revision]; none: the untouched model."),
    ] = None,
    split: Annotated[Literal["validation", "test"], typer.Option(help="Rows to answer.")] = "validation",
) -> None:
    """Measure one model on one split."""
    from pada_agent.app.results.hub import find_adapter
    from pada_agent.app.runs import evaluate_model

    chosen = _load(config, overrides)
    folder = find_adapter(adapter) if adapter is not None else None
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
            help="Group the errors by this one too, and say how far the groups agree; may be given several times.",
        ),
    ] = None,
) -> None:
    """Write a run's report again, of an unfinished one what there is so far, and print its table."""
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
        str, typer.Argument(metavar="DIR", help="A finished run's folder, or an adapter's, also hub:owner/name.")
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="New folder for what is written.")],
    what: Annotated[
        Literal["model", "data"], typer.Option(help="data: the synthetic rows with provenance, and their card.")
    ] = "model",
    format: Annotated[
        Literal["safetensors", "gguf"], typer.Option(help="gguf: only of a student that is a GGUF file.")
    ] = "safetensors",
    student: Annotated[
        str | None, typer.Option(metavar="NAME", help="Base model; none: the one that DIR names.")
    ] = None,
    license: Annotated[str, typer.Option(metavar="ID", help="Licence to state on the card of the data.")] = "unknown",
) -> None:
    """Merge the adapter into its student, and check the written model; or write the synthetic rows as a data set."""
    from pada_agent.app.results import data_export, model_export
    from pada_agent.app.results.hub import find_adapter
    from pada_agent.core.errors import ConfigError

    if license != "unknown" and what != "data":
        raise ConfigError("--license is stated on the card of the data. Give --what data with it.")
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
    source: Annotated[Path, typer.Argument(metavar="DIR", help="A finished run's folder, or an adapter's.")],
    repo: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="Repository of the hub; made where there is none.")],
    what: Annotated[
        Literal["model", "data"], typer.Option(help="model: the best adapter. data: the synthetic rows.")
    ] = "model",
    public: Annotated[bool, typer.Option("--public", help="Everybody may see it; without this it is private.")] = False,
    license: Annotated[str, typer.Option(metavar="ID", help="Licence to state on the card.")] = "unknown",
    base: Annotated[
        str | None, typer.Option(metavar="OWNER/NAME", help="The student on the hub, if it was a file here.")
    ] = None,
) -> None:
    """Bring the best adapter, or the synthetic rows, with its card to the Hugging Face hub; private by default."""
    from pada_agent.app.results import hub
    from pada_agent.core.errors import ConfigError

    if base is not None and what == "data":
        raise ConfigError("--base is stated on the card of an adapter. Leave it out with --what data.")
    pushed = hub.push(source, repo, what=what, public=public, license=license, base=base)
    echo(hub.describe_pushed(pushed))


@app.command()
def track(
    folder: RunFolder,
    to: Annotated[Literal["mlflow", "wandb", "tensorboard"], typer.Option(help="Each an extra of the same name.")],
) -> None:
    """Log a run to an experiment tracker: settings, figures by model, training loss, the report."""
    from pada_agent.app.results import trackers

    echo(trackers.track_run(folder, to=to))


@app.command()
def experiment(
    grid: Annotated[Path, typer.Argument(metavar="GRID", help="YAML file with tasks, sizes, arms and seeds.")],
    probe: Annotated[
        bool, typer.Option("--probe", help="Only plain fine-tuning and the oracle: is there headroom? Asks no LLM.")
    ] = False,
    power: Annotated[
        bool, typer.Option("--power", help="Only say which difference so many rows and seeds could show. Runs nothing.")
    ] = False,
    arms: Annotated[
        str | None, typer.Option(metavar="A,B", help="Only these arms; other processes may run the others meanwhile.")
    ] = None,
    seeds: Annotated[str | None, typer.Option(metavar="0,1", help="Only these seeds, likewise.")] = None,
) -> None:
    """Compare methods: run every combination that is not finished, and print the table.

    With --arms or --seeds several processes share the work and the experiment's folder; the same command without them
    then writes the tables.
    """
    from pada_agent.app.adapters.storage.datasets import FileDatasets
    from pada_agent.app.experiment.grid import Part, load_grid
    from pada_agent.app.experiment.running import describe_power, run_experiment
    from pada_agent.app.experiment.tables import render_result

    part = Part(arms=tuple(split_list(arms)), seeds=tuple(read_seed(text) for text in split_list(seeds)))
    loaded = load_grid(grid)
    if power:
        echo(describe_power(loaded, FileDatasets()), nl=False)
        return
    with open_screen() as display:
        result = run_experiment(
            loaded,
            part,
            command=word_experiment(grid, probe, arms, seeds),
            probe_only=probe,
            on_event=display,
            say=echo_error,
        )
    echo(render_result(result), nl=False)


@app.command()
def compare(folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Finished runs' folders.")]) -> None:
    """Lay finished runs side by side, with paired tests on their test rows."""
    from pada_agent.app.experiment import compare_runs

    echo(compare_runs.describe_runs(compare_runs.compare_runs(folders)), nl=False)


@models.command("pull")
def pull_models(
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME...", help="As in `pada models list`.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
) -> None:
    """Fetch models into the model store; those that are there are left alone."""
    from pada_agent.app.adapters.storage import model_store
    from pada_agent.app.run_folder.events import RunEvent
    from pada_agent.core.errors import ConfigError

    wanted = list(model_store.catalogue()) if everything else names
    if not wanted:
        raise ConfigError("Name the models to pull, or give --all. `pada models list` shows them.")
    with open_screen() as display:
        paths = {
            n: model_store.pull(n, lambda p: display(RunEvent(mode="custom", data=p.model_dump()))) for n in wanted
        }
    for name, path in paths.items():
        echo(f"{name}: {path}")


@models.command("list")
def list_models() -> None:
    """Show the models that can be pulled, and which are here."""
    from pada_agent.app.adapters.storage import model_store
    from pada_agent.app.text import align_columns

    rows = [["name", "MB", "here", "licence", "what"]]
    for name, entry in model_store.catalogue().items():
        here = "yes" if model_store.is_stored(name) else "no"
        rows.append([name, f"{entry.n_bytes / 1e6:,.0f}", here, entry.license, entry.about])
    echo(f"{align_columns(rows)}\nFolder: {model_store.store_folder()}")


@settings.command("show")
def show_config(
    config: Annotated[Path | None, typer.Argument(metavar="[CONFIG]", help="None: the defaults.")] = None,
    overrides: Overrides = None,
) -> None:
    """Print the settings, with every default."""
    from pada_agent.app.run_folder.layout import dump_config

    echo(dump_config(_load(config, overrides)), nl=False)


def main() -> None:
    """Entry point of the `pada` command."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr: a terminal without our characters is no error
    app()


def _load(path: Path | None, overrides: list[str] | None, out: Path | None = None) -> "RunConfig":
    from pada_agent.core.config_files import apply_override, load_config, parse_local_config

    if out is not None:
        out = out if out.name not in ("", "..") else out.resolve()
        overrides = [*(overrides or []), f"runs_folder={quote(out.parent)}", f"name={quote(out.name)}"]
    if path is not None:
        return load_config(path, overrides)
    values: dict[str, Any] = {}
    for override in overrides or []:
        values = apply_override(values, override)
    return parse_local_config(values, origin="--set")


if __name__ == "__main__":
    main()
