"""Writes how many of the rows that each run added read like their label.

python docs/results/on_label.py runs/banking77_270_rows auggpt,pada data/banking77 \\
    validation,development_300 train_60 > docs/results/banking77/on_label_270_rows.txt

A logistic regression on sentence vectors, fitted on real rows that no run was fine-tuned on, says which label a row reads like.
The last argument names the real rows that the runs were fine-tuned on, for comparison.
"""

import json
import sys
from pathlib import Path

import numpy as np

from pada_agent.agents.guards.label_likelihood import fit_labels
from pada_agent.app.adapters.embedder import SentenceEmbedder
from pada_agent.app.adapters.storage import model_store


def read_lines(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def main(grid: str, names: str, folder: str, judging: str, training: str) -> None:
    """Print one line per run."""
    embedder = SentenceEmbedder(str(model_store.resolve("all-mpnet-base-v2")), device="cpu")

    def embed(texts: list[str]) -> np.ndarray:
        return np.asarray(embedder.embed(texts), dtype=np.float64)

    def read_real(files: str) -> list[dict[str, str]]:
        return [row for name in files.split(",") for row in read_lines(Path(folder) / f"{name}.jsonl")]

    real = read_real(judging)
    judge = fit_labels(embed([row["question"] for row in real]), [row["label"] for row in real])
    assert judge is not None

    def share(texts: list[str], labels: list[str]) -> str:
        return f"{np.mean(judge.predict(embed(texts)) == np.array(labels)):.1%} of {len(texts)} rows"

    own = read_real(training)
    print(f"{training}: {share([row['question'] for row in own], [row['label'] for row in own])}, by {len(real)} rows")
    for arm in names.split(","):
        for run in sorted(Path(grid).glob(f"*-{arm}-s*")):
            rows = read_lines(run / "iterations" / "1" / "synthetic.jsonl")
            print(f"{run.name}: {share([row['prompt'] for row in rows], [row['answer'] for row in rows])}")


if __name__ == "__main__":
    main(*sys.argv[1:])
