"""Writes which test rows the models of a grid answered correctly: one line per seed and row, one column per arm.

python docs/results/collect.py runs/geoquery vanilla_equal_steps,auggpt,pada > docs/results/geoquery/correct.csv

Only seeds that all arms have finished are listed. Of an augmenting arm, the model is that of its last round.
"""

import csv
import json
import sys
from pathlib import Path


def read_correct(run: Path) -> dict[str, int]:
    """1 for each test row that the run's last model answered correctly, else 0."""
    last = max((run / "iterations").glob("[0-9]*"), key=lambda folder: int(folder.name))
    with (last / "predictions" / "test.jsonl").open(encoding="utf-8") as file:
        answers = [json.loads(line) for line in file]
    return {a["example"]["id"]: int(a["verdict"]["value"] == "correct") for a in answers}


def main(grid: str, names: str) -> None:
    """Print the table."""
    arms = names.split(",")
    runs = {
        arm: {p.parent.name.rpartition("-s")[2]: p.parent for p in Path(grid).glob(f"*-{arm}-s*/summary.json")}
        for arm in arms
    }
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["seed", "row", *arms])
    for seed in sorted(set.intersection(*(set(found) for found in runs.values())), key=int):
        correct = [read_correct(runs[arm][seed]) for arm in arms]
        writer.writerows([seed, row, *(each[row] for each in correct)] for row in sorted(correct[0]))


if __name__ == "__main__":
    main(*sys.argv[1:])
