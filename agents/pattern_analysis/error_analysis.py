"""Error analysis subagent: finds one root cause and one scenario for each validation failure."""

from collections.abc import Sequence
from random import Random

from pydantic import BaseModel, ConfigDict, Field

from pada_agent.agents.pattern_analysis.failure_features import note_traits
from pada_agent.agents.unusable_answers import describe_unusable
from pada_agent.core.concurrency import map_concurrently
from pada_agent.core.records import ErrorAnalysis, Record, ScoredRow
from pada_agent.core.tally import Report, Tally, report_nowhere
from pada_agent.core.wording import count
from pada_agent.evaluation.task import Task
from pada_agent.prompts.numbering import number_from_one
from pada_agent.prompts.prompted_model import NoReply, PromptedModel, try_ask
from pada_agent.prompts.text_lengths import at_least


class ErrorAnalyses(Record):
    """All analyses of a round, and what could not be analyzed."""

    analyses: tuple[ErrorAnalysis, ...]
    warnings: tuple[str, ...] = ()


class AnalysisItem(BaseModel):
    """What the LLM returns for one sample."""

    model_config = ConfigDict(extra="ignore", coerce_numbers_to_str=True)

    sample_idx: int = Field(description="number of the sample")
    first_wrong_step: str = Field(
        default="", description="the first step, word or detail at which the response goes wrong, at most 20 words"
    )
    error_cause: str = at_least(
        3, "what was overlooked or mixed up there, one sentence that would be true of other questions too"
    )
    scenario_category: str = at_least(2, "kind of question, 2 to 6 words")


def sample_failures(failures: Sequence[ScoredRow], *, limit: int, rng: Random) -> list[ScoredRow]:
    """At most `limit` failures, drawn without replacement and kept in their original order."""
    if len(failures) <= limit:
        return list(failures)
    return [failures[i] for i in sorted(rng.sample(range(len(failures)), limit))]


def analyze_errors(
    failures: Sequence[ScoredRow],
    *,
    task: Task,
    analyst: PromptedModel,
    per_call: int,
    report: Report = report_nowhere,
) -> ErrorAnalyses:
    """Ask the analyst about `per_call` failures at a time. If a reply cannot be used, only its own failures go without an analysis."""
    chunks = [failures[i : i + per_call] for i in range(0, len(failures), per_call)]
    tally = Tally("error_analysis", len(failures), unit="errors")
    tally.begin(report)

    def analyze(chunk: Sequence[ScoredRow]) -> ErrorAnalyses | NoReply:
        result = _analyze_chunk(chunk, task, analyst)
        tally.add(len(chunk), report)
        return result

    results = map_concurrently(analyze, chunks)
    usable = [r for r in results if isinstance(r, ErrorAnalyses)]
    unusable = [r.reason for r in results if isinstance(r, NoReply)]
    problem = describe_unusable("analyst", unusable, n_usable=len(usable))
    n_lost = sum(len(chunk) for chunk, r in zip(chunks, results, strict=True) if isinstance(r, NoReply))
    return ErrorAnalyses(
        analyses=tuple(a for r in usable for a in r.analyses),
        warnings=(
            *(w for r in usable for w in r.warnings),
            *([f"error analysis: {count(n_lost, 'failure')} not analyzed: {problem}"] if problem else []),
        ),
    )


def _analyze_chunk(chunk: Sequence[ScoredRow], task: Task, analyst: PromptedModel) -> ErrorAnalyses | NoReply:
    variables = {
        "task": task.about([f.example for f in chunk]),
        "samples": [describe_failure(f, task) for f in chunk],
        "labels": _labels_involved(chunk, task),
    }
    reply = try_ask(
        analyst.ask,
        "error_analysis",
        variables,
        AnalysisItem,
        numbered=number_from_one("sample_idx", len(chunk)),
        tags={"agent": "error_analysis"},
    )
    if isinstance(reply, NoReply):
        return reply
    analyses = tuple(
        ErrorAnalysis(
            example_id=chunk[item.sample_idx - 1].example.id,
            error_cause=item.error_cause,
            scenario_category=item.scenario_category,
            first_wrong_step=item.first_wrong_step,
            traits=note_traits(chunk[item.sample_idx - 1], task),
        )
        for item in reply.items
    )
    missing = len(chunk) - len(analyses)
    return ErrorAnalyses(
        analyses=analyses,
        warnings=(f"error analysis: the answer left out {missing} of {len(chunk)} failures",) if missing else (),
    )


def _labels_involved(chunk: Sequence[ScoredRow], task: Task) -> dict[str, str]:
    """Definitions of the labels that are right for these failures or were given instead. Leaving out the others keeps the prompt short."""
    names = {label for f in chunk for label in (task.closed_label(f.example), f.verdict.extracted)}
    return {name: meaning for name, meaning in task.config.labels.items() if name in names}


def describe_failure(failure: ScoredRow, task: Task) -> dict[str, object]:
    """What the analyst reads about a failure: what the student saw and answered, the reference solution and the result of scoring."""
    example = failure.example
    return {
        "query": task.asked(example),
        "options": list(example.options) if example.options and task.closed_label(example) is None else [],
        "response": failure.prediction.response.strip() or "(empty)",
        "truth": task.solution(example),
        "result": failure.verdict.reason or failure.verdict.value,
    }
