"""`pada estimate`."""

from pathlib import Path
from typing import Annotated

import typer

from pada_agent.app.terminal.arguments import Overrides, read_n_at_once
from pada_agent.app.terminal.console import echo


def estimate(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="YAML file with the settings, or with a grid.")],
    overrides: Overrides = None,
    measured: Annotated[
        Path | None,
        typer.Option("--from", metavar="DIR", help="Folder of an earlier run or experiment, to measure the hours by."),
    ] = None,
    tokens_per_second: Annotated[
        float | None, typer.Option(metavar="N", min=0.1, help="Tokens that one GPU trains per second, if not measured.")
    ] = None,
    call_seconds: Annotated[
        float | None, typer.Option(metavar="S", min=0, help="Seconds per LLM call, if not measured.")
    ] = None,
    gpu_price: Annotated[float | None, typer.Option(metavar="USD", min=0, help="Price of a GPU per hour.")] = None,
    parallel: Annotated[
        str | None, typer.Option(metavar="N", help="Runs of a grid at the same time. Default: 4 per GPU, up to 64.")
    ] = None,
) -> None:
    """Estimate the calls, tokens, cost and hours of a run or of a grid, without running it."""
    from pada_agent.app.estimates import command
    from pada_agent.core.config_files import load_config
    from pada_agent.core.errors import ConfigError

    wishes = command.Wishes(
        measured_in=measured,
        tokens_per_second=tokens_per_second,
        call_seconds=call_seconds,
        usd_per_hour=gpu_price,
        n_at_once=read_n_at_once(parallel) if parallel else None,
    )
    if not command.holds_grid(config):
        echo(command.describe_run(load_config(config, overrides), wishes))
    elif overrides:
        raise ConfigError(f"--set: {config} is a grid. Change its `set` instead.")
    else:
        echo(command.describe_grid(config, wishes))
