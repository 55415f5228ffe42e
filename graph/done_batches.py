"""Finished batches in the store, under a hash of everything they were made from, so that an interrupted run does not repeat them."""

from pydantic import ValidationError

from pada_agent.core.errors import ArtifactError
from pada_agent.core.part_versions import find_version
from pada_agent.core.recipes import find_recipe
from pada_agent.core.records import Batch, BatchReport, Record
from pada_agent.graph.adapters import Adapters
from pada_agent.graph.rows import known_refs
from pada_agent.graph.spans import Span
from pada_agent.graph.state import BatchState, RoundState
from pada_agent.graph.storing import is_whole


class DoneBatch(Record):
    """What is stored about a finished batch."""

    report: BatchReport
    spans: dict[str, Span]
    """When its nodes ran."""


def keep_done(report: BatchReport, state: BatchState, adapters: Adapters) -> None:
    """Stores the report of a finished batch."""
    done = DoneBatch(report=report, spans=state.get("spans", {}))
    adapters.store.write_json(_address(state["batch"], state, adapters), done.model_dump(mode="json"))


def find_done(batch: Batch, state: RoundState, adapters: Adapters) -> DoneBatch | None:
    """The finished batch, or None if it is not finished or some of its rows are missing."""
    key = _address(batch, state, adapters)
    if not adapters.store.has(key):
        return None
    try:
        done = DoneBatch.model_validate(adapters.store.read_json(key))
    except (ArtifactError, ValidationError):  # damaged, or from another version: run it again, with the stored replies
        return None
    refs = (done.report.accepted, done.report.rejected, done.report.ratings)
    return done if all(ref is None or is_whole(adapters.store, ref) for ref in refs) else None


def _address(batch: Batch, state: BatchState | RoundState, adapters: Adapters) -> str:
    made_from = (batch, state["settings"], state["data"], state["plan"], known_refs(batch, state))
    recipe = find_recipe(state["settings"].generation.template)
    version = find_version(type(adapters.task), *adapters.guards, type(adapters.generator), type(adapters.judge))
    return adapters.store.key("batch", *made_from, recipe, version)
