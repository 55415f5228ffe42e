"""Renders templates from unknown sources in a separate process, because jinja2's sandbox limits neither time nor memory.

`{{ 10 ** 10 ** 9 }}` keeps Python's interpreter busy for hours, and no thread can end it; `{{ 'a' * 10 ** 10 }}` fills
the machine's memory. Here, such a line only ends the process that renders it.
"""

import sys
from collections.abc import Mapping
from datetime import date
from functools import lru_cache
from threading import Lock
from typing import Any, Literal

from pada_agent.core.errors import SandboxError
from pada_agent.core.own_process import Ended, OwnProcess

SECONDS = 10.0
"""Limit on processor time for one rendering. Usually it takes less than a millisecond."""
SECONDS_OF_WAITING = 120.0
"""Limit on waiting for one rendering, on a machine that is busy with something else."""
MEMORY_BYTES = 512 * 2**20
MAX_CHARACTERS = 8 * 2**20
TODAY = date(2024, 7, 26)
"""The date that some chat templates insert. Fixed, so that a row is rendered the same way on any day."""
_WORKER = "pada_agent.prompts.template_worker"
_LIMITS = {
    "memory": f"needs more than {MEMORY_BYTES // 2**20} MiB of memory",
    "characters": f"writes more than {MAX_CHARACTERS:,} characters",
    "SIGPROF": f"computes for more than {SECONDS:g} s",
    "time": f"has not ended within {SECONDS_OF_WAITING:g} s",
}


class TemplateFault(Exception):
    """What is wrong with a template, in the words of Python or jinja2."""

    def __init__(self, kind: str, message: str, line: int | None = None, template: str | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        """Name of the exception."""
        self.line = line
        """Where the template cannot be read."""
        self.template = template
        """A template that it asks for and that is not there."""


class TemplateLimitError(Exception):
    """The limit that a template exceeded. The text completes a sentence about the template."""


class TemplateProcess:
    """Renders the given templates. Safe to use from several threads. The process starts when the first text is needed."""

    def __init__(self, kind: Literal["chat", "prompt"], templates: Mapping[str, str]) -> None:
        self._settings = {
            "kind": kind,
            "templates": dict(templates),
            "today": TODAY.isoformat(),
            "path": sys.path,
            "memory_bytes": MEMORY_BYTES,
            "seconds": SECONDS,
            "max_characters": MAX_CHARACTERS,
        }
        self._lock = Lock()
        self._process: OwnProcess | None = None

    def render(self, name: str, variables: Mapping[str, Any]) -> str:
        """The text of a template.

        Raises:
            TemplateFault: it cannot be read, or it failed.
            TemplateLimitError: it would take too much time or memory.
            SandboxError: the process cannot be started.
        """
        with self._lock:
            if self._process is None or not self._process.is_running:
                self._process = self._start()
            reply = self._process.ask({"name": name, "variables": dict(variables)}, SECONDS_OF_WAITING)
        if isinstance(reply, Ended):
            raise TemplateLimitError(_LIMITS.get(reply.by, f"ends the process that renders it ({reply.by})"))
        if "limit" in reply:
            raise TemplateLimitError(_LIMITS[reply["limit"]])
        if "fault" in reply:
            raise TemplateFault(**reply["fault"])
        return str(reply["text"])

    def _start(self) -> OwnProcess:
        try:
            return OwnProcess(_WORKER, self._settings)
        except OSError as exc:
            raise SandboxError(f"a process for templates could not be started: {exc}") from exc


@lru_cache(maxsize=4)
def render_chats(template: str) -> TemplateProcess:
    """The process that renders one chat template, under the name `chat`."""
    return TemplateProcess("chat", {"chat": template})


@lru_cache(maxsize=4)
def render_prompts(templates: tuple[tuple[str, str], ...]) -> TemplateProcess:
    """The process that renders prompts, each under its name."""
    return TemplateProcess("prompt", dict(templates))
