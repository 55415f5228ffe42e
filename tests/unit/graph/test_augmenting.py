"""How the rows of several batches are joined."""

import pytest

from pada_agent.core.config import RunConfig, TaskConfig
from pada_agent.core.records import Example, Provenance
from pada_agent.evaluation.tasks.exact_match import ExactMatch
from pada_agent.graph.nodes.augmenting import split_repeats


class OneWordTask(ExactMatch):
    turns_on_a_word = True


def ask(row_id: str, question: str) -> Example:
    origin = Provenance(branch="pattern", iteration=1, batch_id="i1-s1-b1", attempt=1, source_id="t1")
    return Example(id=row_id, prompt=question, answer="a", reference={"question": question}, provenance=origin)


LARGEST = ask("largest", "what is the largest state that borders texas")
SMALLEST = ask("smallest", "what is the smallest state that borders texas")
AGAIN = ask("again", "what is the largest state that borders texas")


@pytest.mark.parametrize(("kind", "joining"), [(ExactMatch, []), (OneWordTask, [SMALLEST])])
def test_a_row_that_differs_in_one_word_joins_where_one_word_matters(
    kind: type[ExactMatch], joining: list[Example]
) -> None:
    task = kind(TaskConfig(name="exact_match"))
    kept, repeated = split_repeats([SMALLEST, AGAIN], [LARGEST], {"settings": RunConfig()}, task)
    assert kept == joining
    assert len(repeated) == 2 - len(joining)
    assert {r.stage for r in repeated} == {"duplicate"} and all("repeats largest: " in r.reason for r in repeated)
