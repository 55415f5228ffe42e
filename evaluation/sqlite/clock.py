"""Finds out whether a query asks SQLite's date functions for the current time, also through a view."""

import sqlite3
from collections.abc import Callable

N_BEFORE_TIME = {"date": 0, "time": 0, "datetime": 0, "julianday": 0, "unixepoch": 0, "timediff": 0, "strftime": 1}
"""How many arguments each date function takes before the time. Without a time, it takes the clock's."""
NOW = frozenset({"now", "subsec", "subsecond"})
"""Times that are the clock's."""
Argument = str | bytes | int | float | None


def watch_clock(database: sqlite3.Connection) -> list[str]:
    """Make the date functions note when they are asked for the current time.

    Their results stay the same. They are slower, and the connection is for nothing else.

    Returns:
        A list that is empty at first, and to which each such call adds `'now'` or the function's name.
    """
    asked: list[str] = []
    original = sqlite3.connect(":memory:")
    for name in N_BEFORE_TIME:
        database.create_function(name, -1, _watch(name, original, asked), deterministic=True)
    return asked


def _watch(name: str, original: sqlite3.Connection, asked: list[str]) -> Callable[..., Argument]:
    def call(*arguments: Argument) -> Argument:
        if found := find_clock(name, arguments):
            asked.append(found)
        places = ", ".join("?" * len(arguments))
        (value,) = original.execute(f"SELECT {name}({places})", arguments).fetchone()
        result: Argument = value
        return result

    return call


def find_clock(name: str, arguments: tuple[Argument, ...]) -> str | None:
    """What in a call asks for the current time, or None."""
    times = arguments[N_BEFORE_TIME[name] :][: 2 if name == "timediff" else 1]
    if not times:
        return f"{name}()"
    return "'now'" if any(_read_text(time).lower() in NOW for time in times) else None


def _read_text(value: Argument) -> str:
    """A value as SQLite reads a text: bytes count as well, and a null character ends it."""
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return text.partition("\0")[0]
