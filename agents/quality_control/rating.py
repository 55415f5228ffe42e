"""Quality Control Agent: has the rows of a batch rated by the judge."""

from collections.abc import Mapping, Sequence
from functools import cache
from random import Random
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, create_model

from pada_agent.agents.quality_control.judge_calibration import Pair, Probe, mix
from pada_agent.core.concurrency import map_concurrently
from pada_agent.core.records import Example, Rating, Record, Strategy
from pada_agent.evaluation.task import Task
from pada_agent.prompts.numbering import number_from_one
from pada_agent.prompts.prompted_model import NoReply, PromptedModel, try_ask

TOKENS_PER_RATING = 110
"""Tokens reserved for one rating in the judge's reply, including reason, feedback and the JSON around them."""


class RatingItem(BaseModel):
    """What the LLM returns for one sample: the reason comes before the scores."""

    model_config = ConfigDict(extra="ignore")

    sample: int = Field(description="number of the sample")
    reason: str = Field(
        default="", description="does the answer fit, and why, at most 15 words", json_schema_extra={"minLength": 3}
    )


class BatchRating(Record):
    """The judge's ratings of one attempt at a batch."""

    ratings: tuple[Rating, ...]
    problems: tuple[str, ...] = ()
    """What was wrong, one entry per failed call."""
    unrated: dict[str, str] = Field(default_factory=dict)
    """Rows of failed calls, by id, each with what was wrong. Rows that the judge left out of a good reply are not included."""
    probe_ratings: tuple[Rating, ...] = ()
    """Ratings of the probes, under the probes' ids. They are not included in anything else."""

    @property
    def score(self) -> float | None:
        """Mean rating of the attempt. None if nothing was rated."""
        means = [r.mean for r in self.ratings]
        return round(sum(means) / len(means), 9) if means else None  # else thirds may add up to a little less than 7


def rate_batch(
    candidates: Sequence[Example],
    sources: Mapping[str, Example],
    *,
    strategy: Strategy | None,
    draw: str,
    task: Task,
    judge: PromptedModel,
    rows_per_call: int | None = None,
    probes: Sequence[Probe] = (),
) -> BatchRating:
    """Rate every candidate from 1 to 10 for adherence (pattern branch only), utility and relevance (paper, quality control).

    Probes are inserted among the candidates, at positions fixed by `draw`, and rated like them.

    Args:
        draw: what tells this attempt's calls from those of other attempts with the same prompts.
    """
    pairs = [_pair(c, sources, task) for c in candidates]
    pairs = mix(pairs, [p.pair for p in probes], Random(f"mix/{draw}"))
    size = judge.fit(rows_per_call or max(1, len(pairs)), tokens_each=TOKENS_PER_RATING)
    chunks = [pairs[start : start + size] for start in range(0, len(pairs), size)]
    variables = {"task": task.about(candidates), "labels": tuple(task.config.labels), "strategy": strategy}
    rated = map_concurrently(lambda chunk: _rate_chunk(chunk, variables, draw=draw, judge=judge), chunks)
    probe_ids = {p.pair.id for p in probes}
    ratings = [r for found in rated if not isinstance(found, NoReply) for r in found]
    lost = [(chunk, r.reason) for chunk, r in zip(chunks, rated, strict=True) if isinstance(r, NoReply)]
    return BatchRating(
        ratings=tuple(r for r in ratings if r.example_id not in probe_ids),
        problems=tuple(reason for _, reason in lost),
        unrated={pair.id: reason for chunk, reason in lost for pair in chunk if pair.id not in probe_ids},
        probe_ratings=tuple(r for r in ratings if r.example_id in probe_ids),
    )


def _rate_chunk(
    pairs: Sequence[Pair], variables: Mapping[str, Any], *, draw: str, judge: PromptedModel
) -> list[Rating] | NoReply:
    strategy: Strategy | None = variables["strategy"]
    reply = try_ask(
        judge.ask,
        "quality_control",
        {**variables, "pairs": [_describe_pair(n, pair) for n, pair in enumerate(pairs, start=1)]},
        rating_item(with_adherence=strategy is not None and bool(strategy.generation_approach)),
        numbered=number_from_one("sample", len(pairs)),
        draw=draw,
        tags={"agent": "quality_control"},
    )
    if isinstance(reply, NoReply):
        return reply
    return [_to_rating(item, pairs[item.sample - 1]) for item in reply.items]


@cache
def rating_item(*, with_adherence: bool) -> type[RatingItem]:
    """The item model. Adherence is requested only if there is a strategy to adhere to."""
    texts = {
        "adherence": "score: how well it follows the strategy",
        "utility": "score: whether its answer is right, of all answers there are, and learning from it helps",
        "relevance": "score: whether it has the form and style of the original, makes sense and makes nothing up",
    }
    definitions = {
        name: (int, Field(ge=1, le=10, description=text))
        for name, text in texts.items()
        if with_adherence or name != "adherence"
    }
    feedback = (str, Field(default="", description="what to change, a few words; empty if nothing"))
    return create_model("Rating", __base__=RatingItem, feedback=feedback, **definitions)  # type: ignore[call-overload, no-any-return]


def _pair(candidate: Example, sources: Mapping[str, Example], task: Task) -> Pair:
    source = sources[candidate.provenance.source_id] if candidate.provenance else candidate
    return Pair(id=candidate.id, original=task.show(source), synthetic=task.show(candidate))


def _describe_pair(number: int, pair: Pair) -> dict[str, object]:
    """Fields that both rows share are shown once. An exact copy is shown twice, so that the judge can see that it is one."""
    original, synthetic = pair.original, pair.synthetic
    shared = {name: value for name, value in synthetic.items() if original.get(name) == value}
    if shared == synthetic:
        shared = {}
    return {
        "number": number,
        "shared": shared,
        "original": {name: value for name, value in original.items() if name not in shared},
        "synthetic": {name: value for name, value in synthetic.items() if name not in shared},
    }


def _to_rating(item: RatingItem, pair: Pair) -> Rating:
    values = item.model_dump(exclude={"sample"})
    return Rating(example_id=pair.id, **values)
