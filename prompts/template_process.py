"""Renders templates of strangers in a process of their own: jinja2's sandbox limits neither time nor memory.

`{{ 10 ** 10 ** 9 }}` holds Python's interpreter for hours, and no thread can end it; `{{ 'a' * 10 ** 10 }}` takes the memory of
the machine. Here such a line costs its own process.
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
"""Of the processor, for one rendering; a usual one takes less than a millisecond."""
SECONDS_OF_WAITING = 120.0
"""For one rendering on a machine that is busy with something else."""
MEMORY_BYTES = 512 * 2**20
MAX_CHARACTERS = 8 * 2**20
TODAY = date(2024, 7, 26)
"""The day that some chat templates insert: a row has one rendering, whenever it is made."""
_WORKER = "pada_agent.prompts.template_worker"
_LIMITS = {
    "memory": f"needs more than {MEMORY_BYTES // 2**20} MiB of memory",
    "characters": f"writes more than {MAX_CHARACTERS:,} characters",
    "SIGPROF": f"computes for more than {SECONDS:g} s",
    "time": f"has not ended within {SECONDS_OF_WAITING:g} s",
}


class TemplateFault(Exception):
    """What a template did wrong, in the words of Python or jinja2."""

    def __init__(self, kind: str, message: str, line: int | None = None, template: str | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        """Name of the exception."""
        self.line = line
        """Where the template cannot be read."""
        self.template = template
        """A template that it asks for and that is not there."""


class TemplateLimitError(Exception):
    """Which limit a template broke, as the end of a sentence about it."""


class TemplateProcess:
    """Renders these templates; safe to use from several threads. Nothing is started before the first text is wanted."""

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
    """For one chat template, by the name `chat`."""
    return TemplateProcess("chat", {"chat": template})


@lru_cache(maxsize=4)
def render_prompts(templates: tuple[tuple[str, str], ...]) -> TemplateProcess:
    """For prompts by name."""
    return TemplateProcess("prompt", dict(templates))
