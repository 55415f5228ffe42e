"""What nodes work with: the adapters, which are made from the settings in the state."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from pada_agent.agents.guards.guard import Guard
from pada_agent.agents.guards.registry import BUILT_IN, check_guards
from pada_agent.core.config import RunConfig
from pada_agent.core.memory import Memory
from pada_agent.core.ports import ArtifactStore, Compute, DatasetSource, Embedder, TokenCounter
from pada_agent.core.records import Usage
from pada_agent.evaluation.task import Task
from pada_agent.graph.summary import RunSummary
from pada_agent.graph.users import Users
from pada_agent.prompts.prompted_model import PromptedModel


class RowAdapters(Protocol):
    """The adapters that rows are read and measured with."""

    @property
    def datasets(self) -> DatasetSource: ...
    @property
    def task(self) -> Task: ...
    @property
    def tokens(self) -> TokenCounter | None: ...


@dataclass(frozen=True)
class Adapters:
    """Everything outside the graph that its nodes use in one run: data, storage, compute, models, and the task."""

    datasets: DatasetSource
    """Reads the user's rows."""
    store: ArtifactStore
    """Holds everything that the run produces, addressed by content."""
    compute: Compute
    """Runs fine-tuning and prediction jobs."""
    embedder: Embedder
    """Turns texts into sentence vectors."""
    task: Task
    """Says how rows are read, shown and scored."""
    analyst: PromptedModel
    """The LLM that explains failures and drafts strategies."""
    generator: PromptedModel
    """The LLM that writes synthetic rows."""
    judge: PromptedModel
    """The LLM that rates and answers synthetic rows."""
    student: str
    """Folder, file or hub id that the compute backend can load."""
    usage: Callable[[], dict[str, Usage]]
    """LLM usage of the run so far, by role."""
    peak_memory_mb: Callable[[], float | None]
    """Peak resident memory of this process and its children together, in MiB. None if it cannot be measured."""
    publish: Callable[[RunSummary, ArtifactStore], None]
    """Writes the run's readable results from the store: summary, iterations, best adapter and report."""
    close: Callable[[], None]
    """Stops the worker and releases the models at once; running work fails. Afterwards `connect` makes a new set."""
    begin: Callable[[str, bool], None] = lambda _identity, _again: None
    """Called once the rows are read, with the run's identity (see `RunSummary`) and whether its thread has begun before. Raises a
    `ConfigError` if another run works in the run's folder, or has published its results there."""
    retire: Callable[[], None] = lambda: None
    """Makes `connect` return a new set from now on, while this one is being closed. Returns at once."""
    usage_by_batch: Callable[[], dict[str, Usage]] = dict
    """LLM usage of the run so far, by id of the batch of synthetic rows."""
    make_tokens: Callable[[Compute], TokenCounter] | None = None
    """Makes what measures rows in the student's tokens before anything is trained, from the compute backend. None if that
    is not possible here."""
    guards: tuple[type[Guard], ...] = BUILT_IN
    """The guards that check synthetic rows before the judge does, in order."""
    warnings: tuple[str, ...] = ()
    """Known before the run starts, for example that the judge is of the generator's model family."""
    memory: Memory = field(default_factory=Memory)
    """What has been computed about stored rows. It lives as long as the run."""
    users: Users = field(default_factory=Users)
    """The nodes that work with this set, of all calls that share it."""

    def __post_init__(self) -> None:
        check_guards(self.guards)

    @property
    def tokens(self) -> TokenCounter | None:
        """Measures rows with the tokenizer that `compute` has. The same one as long as the run lasts."""
        make, compute = self.make_tokens, self.compute
        return self.memory.get(("tokens", id(compute)), lambda: make(compute)) if make else None


Connect = Callable[[RunConfig], Adapters]
"""Turns settings into adapters. Every node calls it, so it must return the same set for the same settings."""
