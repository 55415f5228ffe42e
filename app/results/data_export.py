"""Exports the rows that a run added, with the origin of each, to a folder that `datasets` and other programs can load."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from pada_agent.app.adapters.storage.artifacts import check_new, make_folder, making_beside, move, write_atomically
from pada_agent.app.results.accepted_rows import AcceptedRow
from pada_agent.app.results.cards import UNKNOWN, write_data_card
from pada_agent.app.run_folder import layout
from pada_agent.core.errors import ArtifactError
from pada_agent.core.json_lines import to_json_lines
from pada_agent.core.records import Branch, Rating, Record, Turn
from pada_agent.graph.summary import ModelResult, RunSummary


class DataRow(Record):
    """A line of `data/train.jsonl`. The columns are the same for all rows of all tasks."""

    id: str
    prompt: str
    answer: str
    options: tuple[str, ...]
    system: str | None
    """The row's own system turn. Null where it has none."""
    history: tuple[tuple[str, str], ...]
    """Earlier turns: pairs of a question and its answer, in Alpaca's form."""
    iteration: int
    branch: Branch
    strategy: str | None
    """Strategy name. Null in the training-error branch."""
    pattern: str | None
    """Name of the pattern that the strategy targets."""
    source_id: str
    """Training row that it is based on. A real row's own id."""
    batch_id: str
    attempt: int
    generator: str | None
    """Model that wrote it. Null for a real row."""
    in_best_model: bool | None
    """Whether the best model was trained on it. Null if the run did not record it."""
    reason: str
    """Why it was accepted. Empty if the run kept no reasons."""
    rating: float | None
    """Mean of the judge's scores, from 1 to 10. Null if it gave none."""
    adherence: int | None
    """Null in the training-error branch, which follows no strategy."""
    utility: int | None
    relevance: int | None


class DataReport(Record):
    """What was written."""

    folder: Path
    n_rows: int


def export_data(source: Path, *, out: Path, license: str = UNKNOWN) -> DataReport:
    """Write the rows that a finished run added to its training data, and a card, to the new folder `out`.

    Raises:
        ArtifactError: `source` is not a finished run, added no rows, or does not have all of them any more.
        ConfigError: `out` already exists.
    """
    check_new(out)
    config, summary = layout.load_run_config(source), layout.load_summary(source)
    rows = list(collect_rows(summary, source, generator=config.models.generator.model))
    if not rows:
        raise ArtifactError(f"{source}: no synthetic row was trained on, so there is no data to export.")
    card = write_data_card(summary, Counter(row.branch for row in rows), config, license=license)
    with making_beside(out) as scratch:
        write_atomically(make_folder(scratch / "made" / "data") / "train.jsonl", to_json_lines(rows))
        write_atomically(scratch / "made" / "README.md", card)
        move(scratch / "made", out)
    return DataReport(folder=out, n_rows=len(rows))


def collect_rows(summary: RunSummary, folder: Path, *, generator: str) -> Iterator[DataRow]:
    """The rows that the iterations of this summary added, in order, from their `synthetic.jsonl`.

    Raises:
        ArtifactError: a file is missing or damaged, or holds more or fewer rows than its iteration added.
    """
    strategies = {(i.iteration, s.id): s for i in summary.patterns for s in i.strategies}
    patterns = {p.pattern.id: p.pattern.category_name for i in summary.patterns for p in i.patterns}
    for model in summary.models:
        if not model.iteration:
            continue
        path = folder / "iterations" / str(model.iteration) / "synthetic.jsonl"
        for number, row in enumerate(_read_added(path, model), 1):
            if (origin := row.provenance) is None:
                raise ArtifactError(f"{path}: line {number}: {row.id} is a synthetic row without provenance.")
            strategy = strategies.get((origin.iteration, origin.strategy_id or ""))
            yield DataRow(
                **row.model_dump(include={"id", "prompt", "answer", "options", "system", "reason"}),
                history=_pair(row.history),
                **origin.model_dump(include={"iteration", "branch", "source_id", "batch_id", "attempt"}),
                **_list_scores(row.rating),
                strategy=strategy.strategy_name if strategy else None,
                pattern=patterns.get(strategy.pattern_id) if strategy else None,
                generator=None if origin.branch == "held_back" else generator,
                in_best_model=model.synthetic[-1] in summary.best.synthetic if model.synthetic else None,
            )


def describe_data(report: DataReport) -> str:
    """One line, and how to load the data."""
    return f"{report.n_rows} rows: {report.folder}\nLoad: datasets.load_dataset({str(report.folder)!r})"


def _read_added(path: Path, model: ModelResult) -> list[AcceptedRow]:
    """The rows that the model's iteration added. An old summary does not say how many these are."""
    rows = layout.read_lines(path, AcceptedRow)
    if model.synthetic and len(rows) != (n := model.synthetic[-1].rows):
        raise ArtifactError(
            f"{path}: damaged ({len(rows)} rows in place of {n}). Delete the run's {layout.SUMMARY}: `pada resume` then writes both again."
        )
    return rows


def _pair(turns: Sequence[Turn]) -> tuple[tuple[str, str], ...]:
    """Each question with its answer: turns alternate, and begin with a question."""
    return tuple((asked.content, said.content) for asked, said in zip(turns[::2], turns[1::2], strict=True))


def _list_scores(rating: Rating | None) -> dict[str, float | int | None]:
    """The columns `rating`, `adherence`, `utility` and `relevance`."""
    scores: dict[str, float | int | None] = dict.fromkeys(("rating", "adherence", "utility", "relevance"))
    if rating is None:
        return scores
    return {**rating.model_dump(include=set(scores)), "rating": round(rating.mean, 2)}
