"""Right answers that code makes before anything is written: as unlike one another as the task allows, so that no call words the same twice."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from random import Random

from pada_agent.core.records import Batch, Example
from pada_agent.core.tally import Report, Tally, report_nowhere
from pada_agent.evaluation.repeats import Asked, RepeatIndex
from pada_agent.evaluation.row_set import RowSet
from pada_agent.evaluation.row_texts import question_of, read_asked
from pada_agent.evaluation.task import ROUGH_QUESTION, Task, Variation

N_DRAWN = 8
"""Maximum number of answers made for a row to find one that asks for something else than all others."""
SOON_DONE = 500
"""Number of rows below which no progress is reported."""


def vary_answers(
    batches: Sequence[Batch],
    training: Sequence[Example],
    known: Sequence[Example],
    *,
    task: Task,
    seed: int,
    threshold: float,
    report: Report = report_nowhere,
) -> list[Batch]:
    """Fix an answer for each row of the batches that code can make answers for. The same seed always gives the same result.

    Of several answers that code makes for a row, the first whose rough question is no near duplicate of a training row, a
    known row or an earlier row of the batches; else the first that has other words. A batch is left unchanged if there is
    a row without any, because a call uses one prompt, or if its answers are found by vote.

    Args:
        known: other rows that the new ones are trained on with.
        threshold: ROUGE-L F score above which two questions are near duplicates.
    """
    sources = RowSet.of(training).by_id
    asked = RepeatIndex(read_asked(row, question_of(row)) for row in (*training, *known))
    n_rows = sum(len(batch.source_ids) for batch in batches)
    tally, report = Tally("vary", n_rows, unit="rows"), report if n_rows > SOON_DONE else report_nowhere
    varied = []
    for batch in batches:
        if batch.is_solved:
            varied.append(batch)
            continue
        varied.append(_vary(batch, sources, training, asked, task=task, seed=seed, threshold=threshold))
        if varied[-1].given:
            tally.begin(report)
            tally.add(len(batch.source_ids), report)
    return varied


def _vary(
    batch: Batch,
    sources: Mapping[str, Example],
    training: Sequence[Example],
    asked: RepeatIndex,
    *,
    task: Task,
    seed: int,
    threshold: float,
) -> Batch:
    given = []
    for row, source_id in enumerate(batch.source_ids):
        rngs = [Random(f"{seed}/{batch.id}/{row}/answer/{n}") for n in range(N_DRAWN)]
        source = sources[source_id]
        drawn = (task.vary_answer(source, training, rng) for rng in rngs)
        varied = _choose(drawn, asked, partial(read_asked, source), threshold)
        if varied is None:
            return batch
        asked.extend([read_asked(source, varied.rough_question)])
        given.append(varied.fields | {ROUGH_QUESTION: varied.rough_question})
    return batch.model_copy(update={"given": tuple(given)})


def _choose(
    drawn: Iterable[Variation | None], asked: RepeatIndex, read: Callable[[str], Asked], threshold: float
) -> Variation | None:
    """The first that is no near duplicate; else the first with other words; else the first.

    Args:
        read: what a question of this row is compared by.
    """
    choices: list[Variation] = []
    for varied in drawn:
        if varied is None:
            break
        if asked.find_first(read(varied.rough_question), threshold) is None:
            return varied
        choices.append(varied)
    new = (varied for varied in choices if asked.find_first(read(varied.rough_question), None) is None)
    return next(new, next(iter(choices), None))
