"""Which labels should new rows be about? Real rows take the place of written ones, and a regression that of the student.

python docs/results/banking77/allocation.py data/banking77 > docs/results/banking77/allocation.txt

From half of the validation rows, 60 times drawn, the script counts which labels a regression on the training rows mixes up. It
then adds 90 of 300 other real rows, spread over the labels in several ways, and counts right answers on the other half.
"""

import json
import sys
from pathlib import Path

import numpy as np

from pada_agent.agents.guards.label_likelihood import fit_labels
from pada_agent.app.adapters.embedder import SentenceEmbedder
from pada_agent.app.adapters.storage import model_store

N_DRAWS = 60
N_ADDED = 90
N_LABELS_OF_PATTERNS = 9
"""As many labels as the strategies of a run were about."""


def main(folder: Path) -> None:
    embedder = SentenceEmbedder(str(model_store.resolve("all-mpnet-base-v2")), device="cpu")
    rows = {
        name: [json.loads(line) for line in (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
        for name in ("train_60", "validation", "development_300")
    }
    vectors = {name: np.asarray(embedder.embed([row["question"] for row in given])) for name, given in rows.items()}
    labels = {name: np.array([row["label"] for row in given]) for name, given in rows.items()}
    names = sorted(set(labels["train_60"]))
    plain = fit_labels(vectors["train_60"], labels["train_60"].tolist())
    assert plain is not None
    answers = plain.predict(vectors["validation"])
    found: dict[str, list[float]] = {}
    for seed in range(N_DRAWS):
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(answers))
        diagnosed, asked = order[: len(order) // 2], order[len(order) // 2 :]
        golds, given = labels["validation"][diagnosed], answers[diagnosed]
        mixed = np.array([(2 * (golds == n) + (given == n))[golds != given].sum() for n in names], dtype=float)
        most = np.where(np.isin(np.arange(len(names)), np.argsort(-mixed)[:N_LABELS_OF_PATTERNS]), mixed, 0)
        share = mixed / mixed.sum()
        ways = {
            "the same number of each label": np.ones(len(names)),
            "by failures": share,
            "half by failures, half the same": share + 1 / len(names),
            "a quarter by failures": share + 3 / len(names),
            f"by failures, {N_LABELS_OF_PATTERNS} labels only": most,
            f"half by failures of {N_LABELS_OF_PATTERNS} labels, half the same": most / most.sum() + 1 / len(names),
        }
        for way, weights in ways.items():
            added = draw(weights, labels["development_300"], names, rng)
            regression = fit_labels(
                np.vstack([vectors["train_60"], vectors["development_300"][added]]),
                [*labels["train_60"], *labels["development_300"][added]],
            )
            assert regression is not None
            score = float(regression.score(vectors["validation"][asked], labels["validation"][asked]))
            found.setdefault(way, []).append(score)
        found.setdefault("none", []).append(
            float(plain.score(vectors["validation"][asked], labels["validation"][asked]))
        )
    even = np.array(found["the same number of each label"])
    for way, scores in found.items():
        differences = np.array(scores) - even
        error = differences.std() / np.sqrt(N_DRAWS)  # of draws from the same rows, so it says less than it seems to
        print(
            f"{way}: {np.mean(scores):.1%}; against the same number {100 * differences.mean():+.1f} points ± {100 * error:.1f}"
        )


def draw(weights: np.ndarray, labels: np.ndarray, names: list[str], rng: np.random.Generator) -> np.ndarray:
    """Places of `N_ADDED` rows, of each label in proportion to its weight, or all that there are."""
    there = np.array([(labels == name).sum() for name in names])
    counts = np.zeros(len(names), dtype=int)
    for _ in range(N_ADDED):
        behind = np.where((counts < there) & (weights > 0), (counts + 1) / np.maximum(weights, 1e-9), np.inf)
        counts[behind.argmin() if np.isfinite(behind).any() else (counts - there).argmin()] += 1
    return np.concatenate(
        [rng.permutation(np.flatnonzero(labels == n))[:c] for n, c in zip(names, counts, strict=True)]
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
