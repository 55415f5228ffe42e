"""What the `pada` command says and asks on a terminal. Quick to import, as the command itself is."""

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from pada_agent.app.streams import surviving

if TYPE_CHECKING:
    from pada_agent.app.run_folder.key_addresses import KeyUse
    from pada_agent.app.runs.driver import AllowKeys, Answer, RunOutcome
    from pada_agent.app.terminal.display import Display


@contextmanager
def open_screen() -> "Iterator[Display]":
    from pada_agent.app.terminal.display import open_display

    display = open_display()
    try:
        yield display
    finally:
        display.close()


def choose_answer(display: "Display") -> "Answer":
    """Ask a person if there is a terminal. Otherwise, let the run wait."""
    from pada_agent.app.runs import driver
    from pada_agent.app.terminal import answers

    if not sys.stdin.isatty():
        return driver.leave_waiting
    ask = answers.ask_on_terminal(echo_error)

    def answer(question: driver.Question) -> Any:
        with display.paused():
            return ask(question)

    return answer


def echo(text: str, *, err: bool = False, nl: bool = True, styled: bool = False) -> None:
    """The only way to the terminal, so that text from models and servers cannot control it. `styled` text has been made safe already."""
    from pada_agent.app.text import show_unseen

    with surviving(sys.stderr if err else sys.stdout):
        typer.echo(text if styled else show_unseen(text), err=err, nl=nl)


def choose_allowance(display: "Display") -> "AllowKeys":
    """Ask a person where keys may be sent. Without a terminal, nowhere."""
    from pada_agent.app.runs import driver

    if not sys.stdin.isatty():
        return driver.allow_no_keys

    def ask(uses: "tuple[KeyUse, ...]") -> bool:
        sent = "\n".join(f"  {use}" for use in uses)
        with display.paused():
            return typer.confirm(
                f"The settings in this folder would send these keys:\n{sent}\nNone of your runs has sent them there before. Send them?",
                err=True,
            )

    return ask


def echo_error(text: str) -> None:
    echo(text, err=True)


def report_outcome(outcome: "RunOutcome") -> None:
    from pada_agent.app.terminal.answers import describe_question, explain_answer
    from pada_agent.app.terminal.summary import render_summary

    if outcome.summary is not None:
        echo(render_summary(outcome.summary, outcome.folder), nl=False)
        return
    for question in outcome.questions:
        echo(f"{describe_question(question)}\n\n{explain_answer(question)}")
    folder = shlex.quote(str(outcome.folder))
    echo(f"The run is waiting. Put the answer into a file, then: pada resume {folder} --answer FILE.json")
