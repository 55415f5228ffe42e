"""Guards that compare a row with other rows, or check it exactly."""

from collections.abc import Mapping, Sequence

from pada_agent.agents.guards.guard import Guard, Refusal
from pada_agent.core.generation_config import GenerationConfig
from pada_agent.core.records import Example, Overlap, Verdict
from pada_agent.core.returned import check_returned
from pada_agent.evaluation.contamination import find_duplicates, find_near, find_overlap
from pada_agent.evaluation.task import Task


class Learnable(Guard):
    """Rejects rows that the student cannot be trained on, for example because they exceed `lora.max_length`."""

    name = "learnable"
    stage = "format"

    def check(self, candidates: Sequence[Example]) -> Mapping[str, Refusal]:
        problems = {c.id: self.context.explain_unlearnable(c) for c in candidates}
        return {row_id: Refusal(reason=problem) for row_id, problem in problems.items() if problem}


class ExactLabel(Guard):
    """Rejects rows whose own answer is wrong, for tasks that can tell: programs must pass their tests, and queries must run."""

    name = "exact_label"
    stage = "label"

    def check(self, candidates: Sequence[Example]) -> Mapping[str, Refusal]:
        task = self.context.task
        by = f"{type(task).__name__}.verify_label"
        verdicts = {c.id: check_returned(task.verify_label(c), Verdict, by=by) for c in candidates}
        return {i: Refusal(reason=verdict.reason) for i, verdict in verdicts.items() if verdict.value == "wrong"}


def repeat_threshold(task: Task, generation: GenerationConfig) -> float | None:
    """ROUGE-L score above which a question repeats another. None, where one word can change a question's meaning, counts only equal wording."""
    return None if task.turns_on_a_word else generation.near_duplicate_rouge


class Repetition(Guard):
    """Rejects rows that repeat a known row or an earlier one of the same batch (see `repeat_threshold`)."""

    name = "repetition"
    stage = "duplicate"

    def check(self, candidates: Sequence[Example]) -> Mapping[str, Refusal]:
        threshold = repeat_threshold(self.context.task, self.context.settings.generation)
        found = find_duplicates(candidates, self.context.known, threshold=threshold)
        return {o.example_id: Refusal(reason=f"repeats {o.protected_id}: {o.evidence}", overlap=o) for o in found}


class HeldOutWords(Guard):
    """Rejects rows that repeat the words of a validation or test row."""

    name = "held_out_words"
    stage = "contamination"

    def check(self, candidates: Sequence[Example]) -> Mapping[str, Refusal]:
        return _refuse(find_overlap(candidates, self.context.protected))


class HeldOutMeaning(Guard):
    """Rejects rows that say the same as a validation or test row in other words (`guard.contamination_similarity`)."""

    name = "held_out_meaning"
    stage = "contamination"
    may_be_overruled = True

    def check(self, candidates: Sequence[Example]) -> Mapping[str, Refusal]:
        context, embedder = self.context, self.context.embedder
        threshold = context.contamination_similarity or context.settings.guard.contamination_similarity
        if threshold is None or embedder is None:
            return {}
        return _refuse(find_near(candidates, context.protected, embedder=embedder, threshold=threshold))


def _refuse(overlaps: Sequence[Overlap]) -> dict[str, Refusal]:
    return {
        o.example_id: Refusal(reason=f"{o.kind} overlap with held-out row {o.protected_id}: {o.evidence}", overlap=o)
        for o in overlaps
    }
