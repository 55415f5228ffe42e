"""What the writer is told about rows that it has to rewrite: which ones, what is wrong, and what to do."""

from collections.abc import Mapping, Sequence

from pada_agent.agents.quality_control.acceptance import WEAK_BATCH
from pada_agent.core.records import Feedback, Rejection

MAX_DRAFT_CHARACTERS = 600
"""Maximum length of a rejected version when it is shown to its writer."""


def advise(rejections: Sequence[Rejection], drafts: Mapping[int, Mapping[str, str]]) -> list[Feedback]:
    """One piece of advice per rejected row. If a row was rejected twice, the last rejection counts.

    Args:
        drafts: what was written for each row, by row number. Text that overlaps held-out rows is not shown again.
    """
    found = {r.provenance.row: _advise(r, drafts.get(r.provenance.row, {})) for r in rejections}
    return list(found.values())


def remember(known: Sequence[Feedback], new: Sequence[Feedback]) -> list[Feedback]:
    """All advice so far. New advice replaces older advice on the same row; rows without new advice keep theirs."""
    return sorted({f.row: f for f in (*known, *new)}.values(), key=lambda f: f.row)


def _advise(rejection: Rejection, draft: Mapping[str, str]) -> Feedback:
    shown = "" if rejection.stage == "contamination" else "; ".join(f"{name}: {text}" for name, text in draft.items())
    return Feedback(row=rejection.provenance.row, draft=shown[:MAX_DRAFT_CHARACTERS], advice=_word(rejection))


def _word(rejection: Rejection) -> str:
    match rejection.stage:
        case "duplicate":
            return _word_repeat(rejection)
        case "contamination":
            return "it is too close to a text that must not be used: write about something else"
        case "unlikely" | "verification":
            return f"{rejection.reason}: make the detail that decides plain, or write about another case"
        case "quality":
            rating = rejection.rating
            if rating is None:
                return "it could not be rated: write it in plain form"
            if WEAK_BATCH in rejection.reason:
                return "nothing by itself, but the rows beside it were too weak: write another one that is as good"
            return rating.feedback or rating.reason or f"it was rated {rating.mean:.1f} of 10: write a better one"
        case _:
            return rejection.reason


def _word_repeat(rejection: Rejection) -> str:
    source = rejection.overlap and rejection.overlap.protected_id == rejection.provenance.source_id
    if source:
        return "it copies its real example: write about another person and another case, in other words"
    return "it says what another row says already: write about another case, in other words"
