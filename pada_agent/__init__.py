"""Improves small language models by learning from their failures (PaDA-Agent, arXiv 2510.18143).

    from pada_agent import build_graph, load_config
    graph = build_graph().compile(checkpointer=...)
    graph.invoke({}, {"configurable": {"thread_id": "1"}}, context=load_config(Path("mytask.yaml")))

Everything an application or a plugin needs is importable from here, and only from here: the modules below may move.
Names are loaded when they are first used, so `import pada_agent` is cheap.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langgraph.graph import StateGraph

    from pada_agent.agents.guards.guard import Guard as Guard
    from pada_agent.agents.guards.guard import GuardContext as GuardContext
    from pada_agent.agents.guards.guard import Refusal as Refusal
    from pada_agent.app.experiment.methods import Method as Method
    from pada_agent.app.report.data import ReportData as ReportData
    from pada_agent.app.report.sections import ReportSection as ReportSection
    from pada_agent.core.jobs import ChatSpec as ChatSpec
    from pada_agent.core.jobs import ExportJob as ExportJob
    from pada_agent.core.jobs import FineTuneJob as FineTuneJob
    from pada_agent.core.jobs import LoraSpec as LoraSpec
    from pada_agent.core.jobs import PredictJob as PredictJob
    from pada_agent.core.jobs import TokenizerFacts as TokenizerFacts
    from pada_agent.core.jobs import TokenizerJob as TokenizerJob
    from pada_agent.core.recipes import Recipe as Recipe
    from pada_agent.app.experiment.methods import find_method as find_method
    from pada_agent.app.run_folder.checkpoints import make_serializer as make_serializer
    from pada_agent.app.run_folder.events import OnEvent as OnEvent
    from pada_agent.app.run_folder.events import RunEvent as RunEvent
    from pada_agent.app.runs.driver import Question as Question
    from pada_agent.app.runs.driver import RunOutcome as RunOutcome
    from pada_agent.app.runs.driver import resume_run as resume
    from pada_agent.app.runs.driver import start_run as run
    from pada_agent.app.runs.evaluate_model import evaluate_model as evaluate_model
    from pada_agent.app.wiring import bring_chat_model as bring_chat_model
    from pada_agent.app.wiring import connect as connect
    from pada_agent.core.chat import ChatReply as ChatReply
    from pada_agent.core.chat import ChatRequest as ChatRequest
    from pada_agent.core.config import RunConfig as RunConfig
    from pada_agent.core.config import TaskConfig as TaskConfig
    from pada_agent.core.config_files import load_config as load_config
    from pada_agent.core.errors import AgentError as AgentError
    from pada_agent.core.errors import ArtifactError as ArtifactError
    from pada_agent.core.errors import BudgetExceededError as BudgetExceededError
    from pada_agent.core.errors import ConfigError as ConfigError
    from pada_agent.core.errors import DatasetError as DatasetError
    from pada_agent.core.errors import EvaluationError as EvaluationError
    from pada_agent.core.errors import LeakageError as LeakageError
    from pada_agent.core.errors import ModelUnavailableError as ModelUnavailableError
    from pada_agent.core.errors import NonFiniteLossError as NonFiniteLossError
    from pada_agent.core.errors import PadaError as PadaError
    from pada_agent.core.errors import PartError as PartError
    from pada_agent.core.errors import PromptError as PromptError
    from pada_agent.core.errors import SandboxError as SandboxError
    from pada_agent.core.errors import StructuredOutputError as StructuredOutputError
    from pada_agent.core.errors import TrainingError as TrainingError
    from pada_agent.core.ports import ArtifactStore as ArtifactStore
    from pada_agent.core.ports import Compute as Compute
    from pada_agent.core.ports import DatasetSource as DatasetSource
    from pada_agent.core.ports import Embedder as Embedder
    from pada_agent.core.ports import LanguageModel as LanguageModel
    from pada_agent.core.ports import TokenCounter as TokenCounter
    from pada_agent.core.progress import Progress as Progress
    from pada_agent.core.raw_rows import RawRow as RawRow
    from pada_agent.core.records import Example as Example
    from pada_agent.core.records import Prediction as Prediction
    from pada_agent.core.records import Usage as Usage
    from pada_agent.core.records import Verdict as Verdict
    from pada_agent.evaluation.task import DraftProblem as DraftProblem
    from pada_agent.evaluation.task import Task as Task
    from pada_agent.evaluation.tasks.code import Code as Code
    from pada_agent.evaluation.tasks.exact_match import ExactMatch as ExactMatch
    from pada_agent.evaluation.tasks.extractive_qa import ExtractiveQa as ExtractiveQa
    from pada_agent.evaluation.tasks.judge import Judge as Judge
    from pada_agent.evaluation.tasks.multiple_choice import MultipleChoice as MultipleChoice
    from pada_agent.evaluation.tasks.numeric import Numeric as Numeric
    from pada_agent.evaluation.tasks.sql import Sql as Sql
    from pada_agent.graph.adapters import Adapters as Adapters
    from pada_agent.graph.adapters import Connect as Connect
    from pada_agent.graph.summary import RunSummary as RunSummary
    from pada_agent.prompts.prompted_model import PromptedModel as PromptedModel
    from pada_agent.prompts.structured_call import StructuredReply as StructuredReply

_MODULES = {
    "agents.guards.guard": ("Guard", "GuardContext", "Refusal"),
    "app.experiment.methods": ("Method", "find_method"),
    "app.report.data": ("ReportData",),
    "app.report.sections": ("ReportSection",),
    "app.run_folder.checkpoints": ("make_serializer",),
    "app.run_folder.events": ("OnEvent", "RunEvent"),
    "app.runs.driver": ("Question", "RunOutcome", "resume", "run"),
    "app.runs.evaluate_model": ("evaluate_model",),
    "app.wiring": ("bring_chat_model", "connect"),
    "core.chat": ("ChatReply", "ChatRequest"),
    "core.config": ("RunConfig", "TaskConfig"),
    "core.config_files": ("load_config",),
    "core.errors": (
        "AgentError",
        "ArtifactError",
        "BudgetExceededError",
        "ConfigError",
        "DatasetError",
        "EvaluationError",
        "LeakageError",
        "ModelUnavailableError",
        "NonFiniteLossError",
        "PadaError",
        "PartError",
        "PromptError",
        "SandboxError",
        "StructuredOutputError",
        "TrainingError",
    ),
    "core.jobs": ("ChatSpec", "ExportJob", "FineTuneJob", "LoraSpec", "PredictJob", "TokenizerFacts", "TokenizerJob"),
    "core.ports": ("ArtifactStore", "Compute", "DatasetSource", "Embedder", "LanguageModel", "TokenCounter"),
    "core.progress": ("Progress",),
    "core.raw_rows": ("RawRow",),
    "core.records": ("Example", "Prediction", "Usage", "Verdict"),
    "core.recipes": ("Recipe",),
    "evaluation.task": ("DraftProblem", "Task"),
    "evaluation.tasks.code": ("Code",),
    "evaluation.tasks.exact_match": ("ExactMatch",),
    "evaluation.tasks.extractive_qa": ("ExtractiveQa",),
    "evaluation.tasks.judge": ("Judge",),
    "evaluation.tasks.multiple_choice": ("MultipleChoice",),
    "evaluation.tasks.numeric": ("Numeric",),
    "evaluation.tasks.sql": ("Sql",),
    "graph.adapters": ("Adapters", "Connect"),
    "graph.summary": ("RunSummary",),
    "prompts.prompted_model": ("PromptedModel",),
    "prompts.structured_call": ("StructuredReply",),
}
_FUNCTIONS = {"run": "start_run", "resume": "resume_run"}
"""Public names that differ from the name in their module."""
_HOMES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = ["build_graph", *sorted(_HOMES)]  # noqa: PLE0604 - strings, all of them


def build_graph(connect: "Connect | None" = None) -> "StateGraph[Any, Any, Any, Any]":
    """The whole loop, not yet compiled, so that you can choose the checkpointer.

    Args:
        connect: turns settings into adapters. None uses the standard wiring, `pada_agent.connect`. A function of your
            own may call that and replace some of the adapters (docs/embedding.md).
    """
    from pada_agent.app import wiring
    from pada_agent.graph.builder import build_graph as build

    if connect is not None and not callable(connect):
        raise TypeError(
            f"expected a function that makes adapters from settings, or nothing, but found {type(connect).__name__}. Settings are passed when"
            " the graph is called: graph.invoke({}, context=settings)"
        )
    return build(connect or wiring.connect)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'pada_agent' has no attribute '{name}'")
    return getattr(import_module(f"pada_agent.{_HOMES[name]}"), _FUNCTIONS.get(name, name))


def __dir__() -> list[str]:
    return __all__
