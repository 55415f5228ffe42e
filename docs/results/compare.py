"""The comparisons that a grid declared, from the answers of each test row.

python docs/results/compare.py docs/results/geoquery/correct.csv > docs/results/geoquery/compare.txt
"""

import csv
import sys
from collections import defaultdict
from pathlib import Path

from pada_agent.core.records import Verdict
from pada_agent.evaluation.statistics import adjust_holm, compare_methods

DECLARED = (("pada", "auggpt"), ("pada", "vanilla_equal_steps"))
OTHERS = (("auggpt", "vanilla_equal_steps"),)


def main(answers: str) -> None:
    """Print each comparison."""
    verdicts: dict[str, dict[str, list[Verdict]]] = defaultdict(lambda: defaultdict(list))
    with Path(answers).open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            for arm in ("vanilla_equal_steps", "auggpt", "pada"):
                value = "correct" if row[arm] == "1" else "wrong"
                verdicts[arm][row["seed"]].append(Verdict(example_id=row["row"], value=value))
    for pairs in (DECLARED, OTHERS):
        tests = [
            compare_methods(list(verdicts[other].values()), list(verdicts[arm].values()), n_tests=len(pairs))
            for arm, other in pairs
        ]
        adjusted = adjust_holm([test.p_value for test in tests])
        for (arm, other), test, p_holm in zip(pairs, tests, adjusted, strict=True):
            by_seed = ", ".join(f"{100 * difference:+.1f}" for difference in test.by_seed)
            print(
                f"{arm} against {other}: {100 * test.difference:+.1f} points ({100 * test.low:+.1f} to {100 * test.high:+.1f}),"
                f" p {test.p_value:.2g}, Holm over {len(pairs)}: {p_holm:.2g}; by seed: {by_seed};"
                f" could show {100 * test.smallest_shown:.1f}"
            )


if __name__ == "__main__":
    main(*sys.argv[1:])
