"""How much real rows are worth by the rank that `quality.max_label_rank` gives them, with a regression in the student's place.

python docs/results/banking77/rank_value.py data/banking77 > docs/results/banking77/rank_value.txt
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression

from pada_agent.agents.guards.label_likelihood import INVERSE_REGULARIZATION
from pada_agent.app.adapters.embedder import SentenceEmbedder
from pada_agent.app.adapters.storage import model_store

N_DRAWN, N_DRAWS = 26, 40


def main(folder: Path) -> None:
    splits = {name: read(folder / f"{name}.jsonl") for name in ("train_60", "held_back_180", "validation")}
    embedder = SentenceEmbedder(str(model_store.resolve("all-mpnet-base-v2")), device="cpu")
    (train, own), (spare, labels), asked = [
        (np.asarray(embedder.embed([row["question"] for row in rows])), np.array([row["label"] for row in rows]))
        for rows in splits.values()
    ]

    def score(chosen: Sequence[int]) -> float:
        chosen = list(chosen)
        return fit(np.r_[train, spare[chosen]], np.r_[own, labels[chosen]]).score(*asked)

    regression = fit(train, own)
    likelihoods, known = regression.predict_log_proba(spare), list(regression.classes_)
    ranks = np.array(
        [1 + (row > row[known.index(label)]).sum() for row, label in zip(likelihoods, labels, strict=True)]
    )
    print(f"60 rows alone: {score([]):.1%} of {len(asked[1])} validation rows")
    rng = np.random.default_rng(0)
    for name, is_in in {
        "any": ranks > 0,
        "1": ranks == 1,
        "2": ranks == 2,
        "2 or more": ranks > 1,
        "1 or 2": ranks < 3,
    }.items():
        found = np.flatnonzero(is_in)
        mean = np.mean([score(rng.permutation(found)[:N_DRAWN]) for _ in range(N_DRAWS)])
        print(
            f"rank {name}: with all {len(found)} rows {score(found):.1%}, with {N_DRAWN} of them {mean:.1%} (mean of {N_DRAWS} draws)"
        )


def fit(vectors: Any, labels: Any) -> LogisticRegression:
    return LogisticRegression(C=INVERSE_REGULARIZATION, max_iter=1000).fit(vectors, labels)


def read(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
