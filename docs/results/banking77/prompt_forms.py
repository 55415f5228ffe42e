"""What rows written with different prompts are worth, with a regression in the student's place.

python docs/results/banking77/prompt_forms.py data/banking77 > docs/results/banking77/prompt_forms.txt

prompt_forms.csv has the rows: about five of each label for each form, without any check. docs/adr/0018 says what the forms are.
"""

import csv
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from pada_agent.agents.guards.label_likelihood import fit_labels, rank_labels
from pada_agent.app.adapters.embedder import SentenceEmbedder
from pada_agent.app.adapters.storage import model_store
from pada_agent.core.config import TaskConfig
from pada_agent.core.raw_rows import RawRow
from pada_agent.core.records import Example
from pada_agent.evaluation.tasks.registry import make_task

FORMS = ("list", "list, 1.0", "list + list, 1.0", "edit", "turns of rows", "turns", "text", "turns + text")

N_DRAWS = 20


def main(folder: Path) -> None:
    read = {name: read_lines(folder / f"{name}.jsonl") for name in ("train_60", "validation", "held_back_180")}
    with (Path(__file__).parent / "prompt_forms.csv").open(encoding="utf-8", newline="") as file:
        written = list(csv.DictReader(file))
    config = Path(__file__).parents[3] / "configs" / "banking77.yaml"
    task = make_task(TaskConfig(**yaml.safe_load(config.read_text(encoding="utf-8"))["task"]))
    embedder = SentenceEmbedder(str(model_store.resolve("all-mpnet-base-v2")), device="cpu")

    def make(rows: list[Any]) -> list[Example]:
        given = [{"id": f"{i}", "question": row["question"], "label": row["label"]} for i, row in enumerate(rows)]
        return [task.read(RawRow(where=f"row {i}", fields=fields)) for i, fields in enumerate(given)]

    def embed(rows: list[Example]) -> np.ndarray:
        return np.asarray(embedder.embed([row.prompt for row in rows]), dtype=np.float64).reshape(len(rows), -1)

    train, asked = make(read["train_60"]), make(read["validation"] + read["held_back_180"])
    vectors, known = embed(asked), [row.answer for row in asked]
    judge, rows_alone = fit_labels(vectors, known), fit_labels(embed(train), [row.answer for row in train])
    assert judge is not None and rows_alone is not None

    def score(rows: list[Example]) -> float:
        both = [*train, *rows]
        regression = fit_labels(embed(both), [row.answer for row in both])
        return 0.0 if regression is None else float(regression.score(vectors, known))

    print(f"60 rows alone: {score([]):.1%} of {len(asked)} real rows")
    for form in FORMS:
        rows = make([row for row in written if row["form"] in form.split(" + ")])
        answers = np.array([row.answer for row in rows])
        likely, on_label = (by.predict(embed(rows)) == answers for by in (rows_alone, judge))
        ranks = rank_labels(rows, train, task=task, embedder=embedder)
        kept = {
            "all": rows,
            "likeliest by the 60 rows": [row for row, is_likely in zip(rows, likely, strict=True) if is_likely],
            "and by the definitions": [row for row, rank in zip(rows, ranks, strict=True) if rank and rank.rank == 1],
            "on label": [row for row, is_on in zip(rows, on_label, strict=True) if is_on],
        }
        told = "; ".join(f"{name} {score(part):.1%} ({len(part)})" for name, part in kept.items())
        rng = np.random.default_rng(0)
        spread = np.std([score([rows[i] for i in rng.integers(len(rows), size=len(rows))]) for _ in range(N_DRAWS)])
        print(
            f"{form}: {on_label.mean():.0%} on label; {told}; standard deviation of all rows {100 * spread:.1f} points"
        )


def read_lines(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
