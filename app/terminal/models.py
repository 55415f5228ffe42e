"""`pada models`: the models that can be pulled by name."""

from typing import Annotated

import typer

from pada_agent.app.terminal.console import echo, open_screen

models = typer.Typer(help="Download models by name.", no_args_is_help=True)


@models.command("pull")
def pull_models(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME...", help="Names as in `pada models list`.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Pull all models.")] = False,
) -> None:
    """Download models into the model store; models that are already there are kept."""
    from pada_agent.app.adapters.storage import model_store
    from pada_agent.app.run_folder.events import RunEvent
    from pada_agent.core.errors import ConfigError

    wanted = list(model_store.catalogue()) if everything else names
    if not wanted:
        raise ConfigError("Name the models to pull, or use --all. `pada models list` shows them.")
    with open_screen() as display:
        paths = {
            n: model_store.pull(n, lambda p: display(RunEvent(mode="custom", data=p.model_dump()))) for n in wanted
        }
    for name, path in paths.items():
        echo(f"{name}: {path}")


@models.command("list")
def list_models() -> None:
    """List the models that can be pulled, and show which are on this machine."""
    from pada_agent.app.adapters.storage import model_store
    from pada_agent.app.text import align_columns

    rows = [["name", "MB", "here", "license", "what"]]
    for name, entry in model_store.catalogue().items():
        here = "yes" if model_store.is_stored(name) else "no"
        rows.append([name, f"{entry.n_bytes / 1e6:,.0f}", here, entry.license, entry.about])
    echo(f"{align_columns(rows)}\nFolder: {model_store.store_folder()}")
