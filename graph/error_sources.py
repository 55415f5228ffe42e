"""Finds the training rows that the training-error branch starts from: wrong answers, small margins, or out-of-fold errors."""

from pada_agent.agents.data_generation.hard_rows import rank_by_margin, split_folds, unite_rows
from pada_agent.core.jobs import LoraSpec
from pada_agent.core.records import Example, Record, Ref, ScoredRow
from pada_agent.graph.adapters import Adapters
from pada_agent.graph.jobs import run_fine_tuning
from pada_agent.graph.models import TrainedModel
from pada_agent.graph.nodes.evaluating import score_rows
from pada_agent.graph.state import BranchState
from pada_agent.graph.storing import put_rows


class ErrorSources(Record):
    """Training rows to write from, each with the student's answer."""

    rows: tuple[ScoredRow, ...] = ()
    right: tuple[Example, ...] = ()
    """Training rows that the student answers correctly. Some of them may be among `rows`."""
    note: str = ""
    """Which rows were used in addition to wrong answers, in words. Empty if there were enough wrong answers."""


def find_sources(n_rows: int, state: BranchState, adapters: Adapters) -> ErrorSources:
    """Rows to write from, as `generation.error_source` says. `auto` uses further kinds of rows if wrong answers cannot supply `n_rows`."""
    generation = state["settings"].generation
    answered = answer_training_rows(state, adapters)
    wrong = [row for row in answered if row.verdict.value == "wrong"]
    each = generation.max_rows_per_source
    is_enough = bool(wrong) and (each is None or each * len(wrong) >= n_rows)
    ranked = rank_by_margin(answered)
    source = generation.error_source
    if source == "auto" and not is_enough:
        source = "margin" if ranked else "out_of_fold" if generation.error_folds else "train"
    rows, extra = wrong, ""
    if source == "margin":
        rows = unite_rows(wrong, ranked, n=n_rows)
        extra = f"{len(rows) - len(wrong)} rows with the smallest margin are used as sources, too"
    elif source == "out_of_fold":
        rows = unite_rows(wrong, find_out_of_fold(state, adapters))
        extra = f"{len(rows) - len(wrong)} rows that it answers wrongly when it is not trained on them are used as sources, too"
    right = [row.example for row in answered if row.verdict.value == "correct"]
    count = f"the student answers {len(wrong)} of {len(answered)} training rows wrongly"
    return ErrorSources(rows=tuple(rows), right=tuple(right), note=f"{count}: {extra}" if extra else "")


def answer_training_rows(state: BranchState, adapters: Adapters) -> list[ScoredRow]:
    """The best model's answers on D_train, including correct ones."""
    best, train = state["models"][state["plan"].diagnosed_model], state["data"].train
    return score_rows(best, train, state, adapters, adapters.store.read_rows(train.key, Example))


def find_out_of_fold(state: BranchState, adapters: Adapters) -> list[ScoredRow]:
    """Rows that a student fine-tuned on the other folds answers wrongly, in the order of the training rows.

    Finished jobs are found again by their content hash, so later iterations cost nothing.
    """
    settings, train = state["settings"], state["data"].train
    examples = adapters.store.read_rows(train.key, Example)
    ref = state["data"].definitions
    definitions = adapters.store.read_rows(ref.key, Example) if ref else []
    n_folds = min(settings.generation.error_folds, len(examples))
    folds = split_folds(examples, n_folds, seed=settings.seed) if n_folds > 1 else []
    wrong: dict[str, ScoredRow] = {}
    for number, fold in enumerate(folds, start=1):
        left_out = {e.id for e in fold}
        rest = put_rows(adapters.store, "fold-rest", [*(e for e in examples if e.id not in left_out), *definitions])
        name = f"fold {number} of {n_folds}"
        adapter = run_fine_tuning(rest, name, settings, adapters, lora=scale_steps(settings.lora, n_folds))
        model = TrainedModel(name=name, iteration=None, adapter=Ref(key=adapter))
        scored = score_rows(model, put_rows(adapters.store, "fold", fold), state, adapters, fold)
        wrong.update({row.example.id: row for row in scored if row.verdict.value == "wrong"})
    return [wrong[e.id] for e in examples if e.id in wrong]


def scale_steps(lora: LoraSpec, n_folds: int) -> LoraSpec:
    """If the number of steps is fixed, reduce it so that the smaller set of rows is passed over as often as the full one would be."""
    if lora.n_steps is None:
        return lora
    return lora.model_copy(update={"n_steps": max(1, round(lora.n_steps * (n_folds - 1) / n_folds))})
