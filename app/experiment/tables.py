"""An experiment's result as a table: for a terminal, Markdown, CSV and LaTeX."""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from pada_agent.app.adapters.storage.artifacts import write_atomically
from pada_agent.app.experiment.results import ArmOutcome, ExperimentResult, PairOutcome
from pada_agent.app.text import align_columns, word_cost
from pada_agent.evaluation.statistics import MethodTest

HEADER = [
    "task",
    "training rows",
    "arm",
    "seeds",
    "added rows",
    "steps",
    "test",
    "by seed",
    "points",
    "95 % interval",
    "p",
    "p (Holm)",
    "verdict",
    "could show",
    "LLM calls",
    "cached",
    "USD",
    "hours",
]
PAIRS_HEADER = [
    "comparison",
    "task",
    "training rows",
    "seeds",
    "points",
    "95 % interval",
    "p",
    "p (Holm)",
    "verdict",
    "could show",
]
PAIRS_LEGEND = (
    "Comparisons written down in the grid before it ran, on the same test rows and seeds; the first is the primary one."
    " `verdict`: at 5 %, after Holm's correction over these comparisons."
)
LEGEND = (
    "`points`: test accuracy against plain fine-tuning of the same runs for as many steps, mean over seeds, paired on the same"
    " rows. `could show`: the true difference that this many rows and seeds would show in 8 of 10 experiments (`none`: they are"
    " too few to show any). `verdict`: at 5 %, after Holm's correction over all methods, tasks and sizes."
)


def write_tables(result: ExperimentResult, folder: Path) -> None:
    """Write `results.md`, `.csv`, `.tex` and `.json`."""
    write_atomically(folder / "results.md", to_markdown(result))
    write_atomically(folder / "results.csv", to_csv(result))
    write_atomically(folder / "results.tex", to_latex(result))
    write_atomically(folder / "results.json", result.model_dump_json(indent=2) + "\n")


def render_result(result: ExperimentResult) -> str:
    """The table for a terminal, with the columns that fit, and the notes."""
    shown = [i for i, name in enumerate(HEADER) if name not in ("by seed", "p", "could show", "cached", "USD")]
    rows = [[row[i] for i in shown] for row in [HEADER, *map(_to_row, result.outcomes)]]
    pairs = [align_columns([PAIRS_HEADER, *map(_to_pair_row, result.pairs)]), ""] if result.pairs else []
    return "\n".join([result.name, "", *pairs, align_columns(rows), "", *result.notes]).rstrip() + "\n"


def to_markdown(result: ExperimentResult) -> str:
    """The table as Markdown, with its notes."""
    lines = _to_markdown_table(HEADER, map(_to_row, result.outcomes))
    notes = [f"- {note}" for note in result.notes]
    pairs = _to_markdown_table(PAIRS_HEADER, map(_to_pair_row, result.pairs)) if result.pairs else []
    declared = [*pairs, "", PAIRS_LEGEND, ""] if pairs else []
    return "\n".join([f"# {result.name}", "", *declared, *lines, "", LEGEND, "", *notes]).rstrip() + "\n"


def to_csv(result: ExperimentResult) -> str:
    """The same columns as CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([HEADER, *map(_to_row, result.outcomes)])
    return text.getvalue()


def to_latex(result: ExperimentResult) -> str:
    """A LaTeX `tabular` that needs no packages."""
    columns = [
        "task",
        "training rows",
        "arm",
        "seeds",
        "added rows",
        "steps",
        "test",
        "points",
        "95 % interval",
        "p (Holm)",
        "verdict",
    ]
    places = [HEADER.index(name) for name in columns]
    lines = [" & ".join(_escape(row[i]) for i in places) + r" \\" for row in [HEADER, *map(_to_row, result.outcomes)]]
    head = r"\begin{tabular}{lrlrrrrrrrl}"
    return "\n".join([head, r"\hline", lines[0], r"\hline", *lines[1:], r"\hline", r"\end{tabular}"]) + "\n"


def _to_row(outcome: ArmOutcome) -> list[str]:
    o, t, usage = outcome, outcome.test, outcome.usage
    tested = ["", "", "", "", "", ""]
    if t is not None:
        p_holm = "" if o.p_holm is None else f"{o.p_holm:.3g}"
        bounds = f"{100 * t.low:+.1f} to {100 * t.high:+.1f}"
        tested = [f"{100 * t.difference:+.1f}", bounds, f"{t.p_value:.3g}", p_holm, str(o.words)]
        tested.append(_word_smallest(t))
    name = " = ".join((o.arm, *o.also))
    figures = [_listed(o.n_synthetic), _listed([n or 0 for n in o.n_steps]), f"{100 * o.mean:.1f} %"]
    figures.append(" ".join(f"{100 * a:.1f}" for a in o.accuracy))
    usd = word_cost(usage.cost_usd, o.unpriced).replace("$", "")
    cost = [str(usage.n_calls), str(usage.n_cached), usd, f"{o.hours:.2f}"]
    return [o.task, str(o.size or "all"), name, str(len(o.seeds)), *figures, *tested, *cost]


def _to_pair_row(pair: PairOutcome) -> list[str]:
    test = pair.test
    bounds = f"{100 * test.low:+.1f} to {100 * test.high:+.1f}"
    figures = [f"{100 * test.difference:+.1f}", bounds, f"{test.p_value:.3g}", f"{pair.p_holm:.3g}", pair.words]
    name = f"{pair.arm} against {pair.against}"
    return [
        name,
        pair.task,
        str(pair.size or "all"),
        str(len(test.by_seed)),
        *figures,
        _word_smallest(test),
    ]


def _word_smallest(test: MethodTest) -> str:
    return "none" if test.smallest_shown > 1 else f"{100 * test.smallest_shown:.1f}"


def _to_markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in [header, ["---"] * len(header), *rows]]


def _listed(counts: Sequence[int]) -> str:
    """A single number if all seeds agree."""
    return str(counts[0]) if len(set(counts)) == 1 else " ".join(map(str, counts))


def _escape(text: str) -> str:
    return re.sub(r"([&%$#_{}])", r"\\\1", text.replace("\\", "/"))
