"""Writes the data files of an experiment, from all rows of its source and the list of rows that each file has.

python docs/results/pick_rows.py all.jsonl docs/results/banking77/data_files.csv data/banking77

`all.jsonl` has one object per line with the key `question`, and whatever else the task needs. A list has the columns `file` and
`sha256`: the first 16 digits of the SHA-256 of a question in lower case with single spaces, in the order of the file.
"""

import csv
import hashlib
import json
import sys
from pathlib import Path


def name_question(question: str) -> str:
    """The question's name in a list."""
    return hashlib.sha256(" ".join(question.lower().split()).encode()).hexdigest()[:16]


def main(source: str, listing: str, folder: str) -> None:
    """Write each file of the list into the folder."""
    with Path(source).open(encoding="utf-8") as file:
        lines = {name_question(json.loads(line)["question"]): line.rstrip("\n") for line in file if line.strip()}
    files: dict[str, list[str]] = {}
    with Path(listing).open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            files.setdefault(row["file"], []).append(row["sha256"])
    missing = sum(name not in lines for names in files.values() for name in names)
    if missing:
        raise SystemExit(f"{source}: {missing} of the rows in {listing} are not there")
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name, wanted in files.items():
        Path(folder, name).write_text("".join(f"{lines[row]}\n" for row in wanted), encoding="utf-8")
        print(f"{name}: {len(wanted)} rows")


if __name__ == "__main__":
    main(*sys.argv[1:])
