"""How the rows of several batches are joined."""

from dataclasses import replace
from pathlib import Path

import pytest

from pada_agent.core.config import RunConfig, TaskConfig
from pada_agent.core.records import BatchReport, Example, Provenance, Ref
from pada_agent.evaluation.tasks.exact_match import ExactMatch
from pada_agent.graph.nodes.augmenting import split_repeats, unite
from pada_agent.graph.state import IterationPlan
from pada_agent.graph.storing import put_rows
from tests.toy_world import ToyWorld, make_settings


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


@pytest.mark.parametrize(
    ("kind", "joining", "spare"),
    [(ExactMatch, ["largest", "far"], []), (OneWordTask, ["largest", "far"], ["smallest"])],
)
def test_near_duplicates_join_only_where_no_other_rows_can_be_had(
    kind: type[ExactMatch], joining: list[str], spare: list[str], tmp_path: Path
) -> None:
    settings, far = (
        make_settings(generation={"balance_labels": False}),
        ask("far", "how long is the river that crosses iowa"),
    )
    adapters = replace(ToyWorld(tmp_path).connect(settings), task=kind(TaskConfig(name="exact_match")))
    plan = IterationPlan(
        diagnosed_model="fine-tuned",
        n_pattern_rows=9,
        n_training_error_rows=0,
        validation_failures=Ref(key="none"),
        training_failures=Ref(key="none"),
    )
    reports = [
        BatchReport(
            batch_id=f"i1-s1-b{number}",
            iteration=1,
            branch="pattern",
            attempts=1,
            n_requested=len(rows),
            n_written=len(rows),
            n_accepted=len(rows),
            decision="accepted",
            accepted=put_rows(adapters.store, "accepted", rows),
            rejected=Ref(key="none"),
        )
        for number, rows in enumerate(([LARGEST], [SMALLEST, AGAIN], [far]), start=1)
    ]
    united = unite(reports, {"settings": settings, "plan": plan}, adapters)
    assert [row.id for row in united.rows] == joining
    assert [row.id for row in united.spare] == spare
    assert "again" in {r.overlap.example_id for r in united.repeated if r.overlap}
