"""`python docs/results/gpu/measure_rows.py RUNS OUT.csv`: are written rows on their label? (docs/adr/0011)

RUNS holds the folders of `pada experiment configs/experiments/gpu.yaml`. A logistic regression on sentence vectors of the
560 real rows that no run but the oracle's was fine-tuned on says what each written row reads like; another one, on the 120 training rows,
ranks its label as `quality.max_label_rank` does.
"""

import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression

from pada_agent.agents.guards.label_likelihood import INVERSE_REGULARIZATION
from pada_agent.app.adapters.embedder import SentenceEmbedder
from pada_agent.app.adapters.storage import model_store

ROWS = Path("examples/support_routing")
Row = tuple[str, str, str, str]
"""Run, what became of it, label, text."""


def main(runs: Path, out: Path) -> None:
    """Print the agreement of each run's accepted and refused rows, and write every row."""
    embedder = SentenceEmbedder(str(model_store.resolve("all-mpnet-base-v2")), device="cpu")
    others = fit(
        [row for name in ("held_back", "validation", "test") for row in read(ROWS / f"{name}.jsonl")], embedder
    )
    training = fit(read(ROWS / "train.jsonl"), embedder)
    folders = [f for f in sorted(runs.glob("*-s[0-9]")) if "oracle" not in f.name]  # its rows are among the 560
    print(
        f"of the training rows {share(list(others.predict(vectors_of('train', embedder)) == labels_of('train')))} on their label"
    )
    for name in ("held_back", "validation", "test"):
        ranks = rank(training, vectors_of(name, embedder), labels_of(name))
        print(f"{name}: {share([r == 1 for r in ranks])} rank first, {share([r <= 2 for r in ranks])} first or second")
    rows = [row for folder in folders for row in read_written(folder)]
    vectors = np.asarray(embedder.embed([text for *_, text in rows]))
    read_as = others.predict(vectors)
    ranks = rank(training, vectors, [row[2] for row in rows])
    with out.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["run", "became", "label", "reads like", "rank of the label", "text"])
        writer.writerows([*r[:3], other, rank, r[3]] for r, other, rank in zip(rows, read_as, ranks, strict=True))
    for group in sorted({row[:2] for row in rows}):
        mine = [(o == r[2], k) for r, o, k in zip(rows, read_as, ranks, strict=True) if r[:2] == group]
        likely = [agrees for agrees, rank in mine if rank <= 2]
        print(
            f"{' '.join(group)}: {len(mine)} rows, {share([a for a, _ in mine])} on their label; of the {len(likely)}"
            f" whose label ranks first or second {share(likely)}"
        )


def rank(regression: LogisticRegression, vectors: np.ndarray, labels: list[str]) -> list[int]:
    """Place of each row's label, from 1."""
    places = [list(regression.classes_).index(label) for label in labels]
    return [1 + int((p > p[i]).sum()) for i, p in zip(places, regression.predict_proba(vectors), strict=True)]


def vectors_of(name: str, embedder: SentenceEmbedder) -> np.ndarray:
    return np.asarray(embedder.embed([row["message"] for row in read(ROWS / f"{name}.jsonl")]))


def labels_of(name: str) -> list[str]:
    return [row["queue"] for row in read(ROWS / f"{name}.jsonl")]


def share(values: list[bool]) -> str:
    return f"{sum(values) / len(values):.0%}" if values else "-"


def fit(rows: list[dict[str, str]], embedder: SentenceEmbedder) -> LogisticRegression:
    vectors = np.asarray(embedder.embed([row["message"] for row in rows]))
    return LogisticRegression(C=INVERSE_REGULARIZATION, max_iter=1000).fit(vectors, [row["queue"] for row in rows])


def read(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def read_written(folder: Path) -> Iterator[Row]:
    """Rows that were accepted, and those that the judge refused."""
    run = folder.name.removeprefix("support_routing-all-")
    for path in sorted(folder.glob("iterations/1/*.jsonl")):
        if path.stem == "synthetic":
            yield from ((run, "accepted", row["answer"], row["prompt"]) for row in map(json.loads, path.open()))
        if path.stem == "rejected":
            for row in map(json.loads, path.open()):
                text, arrow, label = row["text"].rpartition("\n→ ")
                if row["stage"] in ("quality", "unlikely") and arrow:
                    yield run, f"refused: {row['stage']}", label, text


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
