"""How well real rows are told apart by rows of each label, by the labels' names and definitions, and by both.

python docs/results/banking77/label_definitions.py data/banking77 > docs/results/banking77/label_definitions.txt

For Banking77 and the shipped example. The rows to learn from are drawn six times.
"""

import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from random import Random

import numpy as np
import yaml

from pada_agent.agents.guards.label_likelihood import collect_known, fit_labels
from pada_agent.app.adapters.embedder import SentenceEmbedder
from pada_agent.app.adapters.storage import model_store
from pada_agent.core.config import TaskConfig
from pada_agent.core.raw_rows import RawRow
from pada_agent.core.records import Example
from pada_agent.evaluation.row_set import RowSet
from pada_agent.evaluation.row_texts import question_of
from pada_agent.evaluation.task import Task
from pada_agent.evaluation.tasks.registry import make_task

PROJECT = Path(__file__).parents[3]
N_DRAWS = 6
SIZES = (1, 2, 3, 5, 10)

embedder = SentenceEmbedder(str(model_store.resolve("all-mpnet-base-v2")), device="cpu")


def main(banking77: Path) -> None:
    report("Banking77", "banking77.yaml", banking77, ["train_60", "held_back_180"], ["validation"])
    example = PROJECT / "examples" / "support_routing"
    report("the shipped example", "demo.yaml", example, ["train"], ["validation", "test"])


def report(name: str, config: str, folder: Path, learned: Sequence[str], asked: Sequence[str]) -> None:
    settings = yaml.safe_load((PROJECT / "configs" / config).read_text(encoding="utf-8"))["task"]
    task = make_task(TaskConfig(**settings))
    bare = make_task(TaskConfig(**{**settings, "labels": list(task.config.labels)}))
    rows, real = read_rows(folder, learned, task), read_rows(folder, asked, task)
    vectors = np.asarray(embedder.embed([question_of(row) for row in real]))
    labels = [task.closed_label(row) for row in real]

    def score(known: Sequence[Example], told: Task) -> float:
        regression = fit_labels(*collect_known(RowSet(known), told, embedder))
        return 0.0 if regression is None else float(regression.score(vectors, labels))

    def score_rows(known: Sequence[Example]) -> float:
        answers = [task.closed_label(row) for row in known]
        regression = fit_labels(np.asarray(embedder.embed([question_of(row) for row in known])), answers)
        return 0.0 if regression is None else float(regression.score(vectors, labels))

    print(f"{name}: share of {len(real)} real rows that are told their label")
    print(f"no rows: names {score([], bare):.1%}; names and definitions {score([], task):.1%}")
    for n in SIZES:
        draws = [draw(rows, n, task, seed) for seed in range(N_DRAWS)]
        if not all(draws):
            continue
        means = [np.mean([score_rows(d) for d in draws])]
        means += [np.mean([score(d, told) for d in draws]) for told in (bare, task)]
        print(f"{n} of each label: rows {means[0]:.1%}; with names {means[1]:.1%}; and definitions {means[2]:.1%}")


def read_rows(folder: Path, names: Sequence[str], task: Task) -> list[Example]:
    lines = [line for name in names for line in (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
    return [task.read(RawRow(where=f"row {i}", fields=json.loads(line))) for i, line in enumerate(lines)]


def draw(rows: Sequence[Example], n: int, task: Task, seed: int) -> list[Example]:
    """`n` rows of each label; none if a label has fewer."""
    by_label = defaultdict(list)
    for row in rows:
        by_label[task.closed_label(row)].append(row)
    if min(map(len, by_label.values())) < n:
        return []
    return [row for group in by_label.values() for row in Random(seed).sample(group, n)]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
