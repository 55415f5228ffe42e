"""The one exception tree.

PadaError
├── ConfigError (ValueError)              the settings file or a --set is wrong
├── DatasetError (ValueError)             a file or row is wrong
│   ├── RowError                          one row is wrong; many alike are reported in one line
│   └── LeakageError                      a validation or test row was about to be trained on
├── PartError (ValueError)                a part that was brought does not do what it must
├── PromptError (ValueError)              a template does not render
├── AgentError (RuntimeError)
│   ├── ModelUnavailableError             the LLM is down, unknown, refuses the key, or has no memory
│   ├── StructuredOutputError             the LLM's answer stayed unusable; costs one batch
│   └── BudgetExceededError               the user's call, token or money budget is spent
├── TrainingError (RuntimeError)
│   └── NonFiniteLossError                the loss became NaN or infinite
├── EvaluationError (RuntimeError)
│   └── SandboxError                      the sandbox itself broke (not the candidate program)
└── ArtifactError (RuntimeError)          the run directory, a model file or an object is damaged

Wrong answers, rejected batches and a candidate program's timeout are values, never exceptions.
They derive from ValueError or RuntimeError because a LangGraph server hides the text of all others.
"""

import re


class PadaError(Exception):
    """Base of every error that this package raises on purpose. Its text says what to do."""

    way_on: str = ""
    """How to continue what was running, if the caller knows."""


class ConfigError(PadaError, ValueError):
    """Settings that cannot be used; lists every problem at once, with file and key."""


class DatasetError(PadaError, ValueError):
    """Rows that cannot be used; names the file and the line."""


class RowError(DatasetError):
    """One row that cannot be used.

    Args:
        where: file and place, such as `train.jsonl:17`.
        reason: what is wrong, and what to do.
        kind: the part of the message that is the same for rows to be reported together, ignoring quoted texts and
            numbers. Defaults to `reason`.
        value: the wrong value, if other rows may have a different one.
    """

    def __init__(self, where: str, reason: str, kind: str = "", value: str = "") -> None:
        super().__init__(where, reason, kind, value)
        self.where, self.reason, self.value = where, reason, value
        self.kind = _VALUE.sub("…", kind or reason)

    def __str__(self) -> str:
        return f"{self.where}: {self.reason}"


_VALUE = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|\d[\d.,]*")
"""What differs between two sentences on the same fault: quoted texts and numbers."""


class LeakageError(DatasetError):
    """A validation or test row is in the training data."""


class PartError(PadaError, ValueError):
    """A task, a guard or another part of an application or package does not do what it must; names the part."""


class PromptError(PadaError, ValueError):
    """A prompt template that does not render."""


class AgentError(PadaError, RuntimeError):
    """An LLM agent could not do its work."""


class ModelUnavailableError(AgentError):
    """The LLM cannot be reached or used at all."""


class StructuredOutputError(AgentError):
    """The LLM answered, but never in a form that could be read."""


class BudgetExceededError(AgentError):
    """The run's hard limit on calls, tokens or money is reached."""


class TrainingError(PadaError, RuntimeError):
    """A fine-tuning or prediction job failed."""


class NonFiniteLossError(TrainingError):
    """The training loss is NaN or infinite; names the step and the learning rate."""


class EvaluationError(PadaError, RuntimeError):
    """Scoring itself failed. That never counts as a score of 0."""


class SandboxError(EvaluationError):
    """The sandbox could not be set up."""


class ArtifactError(PadaError, RuntimeError):
    """A stored file is missing or damaged."""


def make_error(name: str, message: str) -> PadaError:
    """The error of this module with this class name. `TrainingError` for any other name."""
    kind = globals().get(name, TrainingError)
    error: PadaError = kind(message)
    return error
