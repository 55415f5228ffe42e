"""Formats figures and columns as text, for terminal, report and cards."""

import re
from collections.abc import Sequence

from pada_agent.core.records import Metrics

_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
"""Control characters, those that turn the direction of text, and halves of surrogate pairs."""


def show_unseen(text: str) -> str:
    """Make text from models, servers or data safe to show: it can no longer clear a terminal, or hide or reverse what it says.

    A carriage return is left out in front of a line feed, where it does nothing.
    """
    return _UNSEEN.sub(lambda found: f"[U+{ord(found[0]):04X}]", text.replace("\r\n", "\n"))


def align_columns(rows: Sequence[Sequence[str]]) -> str:
    """Text columns: the first aligned left, figures aligned right. Empty if there are no rows."""
    if not rows:
        return ""
    rows = [[" ".join(show_unseen(cell).split()) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [[row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))] for row in rows]
    lines.insert(1, ["-" * w for w in widths])
    return "\n".join("  ".join(line).rstrip() for line in lines)


def figure(value: float | None) -> str:
    """Two decimals, or a dash if undefined."""
    return "–" if value is None else f"{value:.2f}"


def percent(value: float) -> str:
    return f"{100 * value:.1f}%"


def points(value: float) -> str:
    """Percentage points with their sign."""
    return f"{100 * value:+.1f}"


def interval(metrics: Metrics) -> str:
    return f"{100 * metrics.low:.1f} – {100 * metrics.high:.1f}"


def dollars(usd: float) -> str:
    """US dollars with cents."""
    return "less than $0.01" if 0 < usd < 0.005 else f"${usd:,.2f}"


def word_cost(usd: float, unpriced: Sequence[str]) -> str:
    """What LLM calls cost. Without a price for some roles, the least that it can be, if anything is known.

    Args:
        unpriced: roles that were asked, may cost money and have no price.
    """
    if not unpriced:
        return dollars(usd)
    return "not known" if usd < 0.005 else f"at least {dollars(usd)}"


def duration(seconds: float) -> str:
    """Text such as `48 s`, `12 min 5 s`, `3 h 20 min`."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 1:
        return f"{seconds:.1f} s" if seconds < 10 else f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
