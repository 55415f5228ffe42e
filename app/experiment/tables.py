"""An experiment's result as tables: for a terminal, Markdown, CSV and LaTeX."""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from pada_agent.app.adapters.storage.artifacts import write_atomically
from pada_agent.app.experiment.results import ArmOutcome, ExperimentResult, PairOutcome, are_unequal, list_steps
from pada_agent.app.text import align_columns, word_cost
from pada_agent.evaluation.statistics import MethodTest

HEADER = [
    "task",
    "training rows",
    "arm",
    "seeds",
    "added rows",
    "steps",
    "plain steps",
    "test",
    "by seed",
    "points",
    "95% interval",
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
    "steps",
    "points",
    "95% interval",
    "p",
    "p (Holm)",
    "verdict",
    "could show",
]
PAIRS_LEGEND = (
    "Comparisons that the grid declares, on the same test rows and seeds; the first is the primary one. A note names those that were not"
    " declared beforehand."
    " `verdict`: at 5%, after Holm's correction over these comparisons."
)
LEGEND = (
    "`points`: {split} accuracy against plain fine-tuning of the same runs, mean over seeds, paired on the same rows. `plain steps`:"
    " how many steps that plain fine-tuning took; where `steps` differs, the steps may be the reason for a difference. `could show`:"
    " the true difference that this many rows and seeds would show in 8 of 10 experiments, after Holm's correction (`none`: they are"
    " too few to show any)."
    " `verdict`: at 5%, after Holm's correction over all methods, tasks and sizes."
)


def write_tables(result: ExperimentResult, folder: Path, *, name: str = "results") -> None:
    """Write `results.md`, `.csv`, `.tex` and `.json`, and the declared comparisons also as `comparisons.csv`.

    Args:
        name: of the files, in place of `results`. Only with `results` is an old `comparisons.csv` removed if there are no comparisons.
    """
    write_atomically(folder / f"{name}.md", to_markdown(result))
    write_atomically(folder / f"{name}.csv", to_csv(result))
    if result.pairs:
        write_atomically(folder / "comparisons.csv", pairs_to_csv(result))
    elif name == "results":
        (folder / "comparisons.csv").unlink(missing_ok=True)
    write_atomically(folder / f"{name}.tex", to_latex(result))
    write_atomically(folder / f"{name}.json", result.model_dump_json(indent=2) + "\n")


def render_result(result: ExperimentResult) -> str:
    """The table for a terminal, with the columns that fit, and the notes."""
    hidden = ("plain steps", "by seed", "p", "could show", "cached", "USD")
    shown = [i for i, name in enumerate(HEADER) if name not in hidden]
    rows = [[row[i] for i in shown] for row in [_name_columns(result), *map(_to_row, result.outcomes)]]
    pairs = [align_columns([PAIRS_HEADER, *map(_to_pair_row, result.pairs)]), ""] if result.pairs else []
    return "\n".join([result.name, "", *pairs, align_columns(rows), "", *result.notes]).rstrip() + "\n"


def to_markdown(result: ExperimentResult) -> str:
    """The table as Markdown, with its notes."""
    lines = _to_markdown_table(_name_columns(result), map(_to_row, result.outcomes))
    notes = [f"- {note}" for note in result.notes]
    pairs = _to_markdown_table(PAIRS_HEADER, map(_to_pair_row, result.pairs)) if result.pairs else []
    declared = [*pairs, "", PAIRS_LEGEND, ""] if pairs else []
    return (
        "\n".join(
            [f"# {result.name}", "", *declared, *lines, "", LEGEND.format(split=result.split), "", *notes]
        ).rstrip()
        + "\n"
    )


def to_csv(result: ExperimentResult) -> str:
    """The same columns as CSV. The cost is a number, or empty if it is not known."""
    at = HEADER.index("USD")
    rows = [_to_row(outcome) for outcome in result.outcomes]
    for row, outcome in zip(rows, result.outcomes, strict=True):
        row[at] = "" if outcome.unpriced else f"{outcome.usage.cost_usd:.2f}"
    return _to_csv(_name_columns(result), rows)


def pairs_to_csv(result: ExperimentResult) -> str:
    """The declared comparisons as CSV."""
    return _to_csv(PAIRS_HEADER, map(_to_pair_row, result.pairs))


def to_latex(result: ExperimentResult) -> str:
    """A LaTeX `tabular` that needs no packages, after one with the declared comparisons if there are any. The notes are comments."""
    left_out = ("by seed", "p", "could show", "LLM calls", "cached", "USD", "hours")
    places = [i for i, name in enumerate(HEADER) if name not in left_out]
    rows = [[row[i] for i in places] for row in [_name_columns(result), *map(_to_row, result.outcomes)]]
    pairs = _to_tabular("llrrrrrrrlr", [PAIRS_HEADER, *map(_to_pair_row, result.pairs)]) if result.pairs else []
    notes = [f"% {note}" for note in result.notes]
    return "\n".join([*pairs, *([""] * bool(pairs)), *_to_tabular("lrlrrrrrrrrl", rows), *notes]) + "\n"


def _name_columns(result: ExperimentResult) -> list[str]:
    """The header, in which the accuracy has the name of its split."""
    return [result.split if name == "test" else name for name in HEADER]


def _to_csv(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    return text.getvalue()


def _to_tabular(alignment: str, rows: Iterable[Sequence[str]]) -> list[str]:
    header, *lines = [" & ".join(map(_escape, row)) + r" \\" for row in rows]
    return [rf"\begin{{tabular}}{{{alignment}}}", r"\hline", header, r"\hline", *lines, r"\hline", r"\end{tabular}"]


def _to_row(outcome: ArmOutcome) -> list[str]:
    o, t, usage = outcome, outcome.test, outcome.usage
    tested = ["", "", "", "", "", ""]
    if t is not None:
        p_holm = "" if o.p_holm is None else f"{o.p_holm:.3g}"
        bounds = f"{100 * t.low:+.1f} to {100 * t.high:+.1f}"
        tested = [f"{100 * t.difference:+.1f}", bounds, f"{t.p_value:.3g}", p_holm, str(o.words)]
        tested.append(_word_smallest(t))
    name = " = ".join((o.arm, *o.also))
    steps = [list_steps(o.n_steps), list_steps(o.n_plain_steps) if o.n_plain_steps else ""]
    figures = [_listed(o.n_synthetic), *steps, f"{100 * o.mean:.1f}%"]
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
        _word_steps(pair),
        *figures,
        _word_smallest(test),
    ]


def _word_steps(pair: PairOutcome) -> str:
    """The steps of both arms, or once if they are equal. Empty if unknown."""
    if are_unequal(pair.n_steps, pair.n_steps_against):
        return f"{list_steps(pair.n_steps)} against {list_steps(pair.n_steps_against)}"
    return list_steps(pair.n_steps) if pair.n_steps else ""


def _word_smallest(test: MethodTest) -> str:
    return "none" if test.smallest_shown > 1 else f"{100 * test.smallest_shown:.1f}"


def _to_markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in [header, ["---"] * len(header), *rows]]


def _listed(counts: Sequence[int]) -> str:
    """A single number if all seeds agree."""
    return str(counts[0]) if len(set(counts)) == 1 else " ".join(map(str, counts))


def _escape(text: str) -> str:
    return re.sub(r"([&%$#_{}])", r"\\\1", text.replace("\\", "/"))
