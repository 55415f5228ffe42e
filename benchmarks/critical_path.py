"""How long a set of calls and jobs takes at least, given what waits for what and how many of a kind may run at once."""

import heapq
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Span = tuple[float, float]


@dataclass(frozen=True)
class Step:
    """A call or a job that ran."""

    id: str
    kind: str
    """What limits how many run at once, such as `llm`."""
    stage: str
    """Its name in the table: the call's template, or the job's kind."""
    span: Span
    """When it ran, in seconds since the start."""
    after: tuple[str, ...] = ()
    """Ids of the steps whose results it needs. They come before it in the list."""

    @property
    def seconds(self) -> float:
        return self.span[1] - self.span[0]


def find_longest(steps: Sequence[Step]) -> dict[str, float]:
    """Seconds from the start of each step to the end of everything that needs it, if nothing is limited."""
    longest: dict[str, float] = {}
    rest: dict[str, float] = defaultdict(float)
    for step in reversed(steps):
        longest[step.id] = step.seconds + rest[step.id]
        for before in step.after:
            rest[before] = max(rest[before], longest[step.id])
    return longest


def schedule(steps: Sequence[Step], limits: Mapping[str, int]) -> dict[str, Span]:
    """When each step runs if none waits without need. Steps on which the most depends go first.

    Args:
        limits: how many of a kind run at once.
    """
    longest, waiting = find_longest(steps), {step.id: len(set(step.after)) for step in steps}
    by_id = {step.id: step for step in steps}
    then: dict[str, list[str]] = defaultdict(list)
    for step in steps:
        for before in set(step.after):
            then[before].append(step.id)
    free, spans = dict(limits), dict[str, Span]()
    ready: dict[str, list[tuple[float, str]]] = defaultdict(list)
    running: list[tuple[float, str]] = []

    def begin(now: float) -> None:
        for kind, queue in ready.items():
            while queue and free[kind] > 0:
                _, name = heapq.heappop(queue)
                free[kind] -= 1
                spans[name] = (now, now + by_id[name].seconds)
                heapq.heappush(running, (spans[name][1], name))

    def release(name: str) -> None:
        heapq.heappush(ready[by_id[name].kind], (-longest[name], name))

    for step in steps:
        if not step.after:
            release(step.id)
    begin(0.0)
    while running:
        now, ended = heapq.heappop(running)
        free[by_id[ended].kind] += 1
        for name in then[ended]:
            waiting[name] -= 1
            if waiting[name] == 0:
                release(name)
        begin(now)
    return spans


def find_waits(steps: Sequence[Step]) -> dict[str, float]:
    """Seconds by which the first step of each stage began later than it could have, with all that it needs at hand."""
    ends = {step.id: step.span[1] for step in steps}
    waits: dict[str, list[float]] = defaultdict(list)
    for step in steps:
        could = max((ends[before] for before in step.after), default=0.0)
        waits[step.stage].append(step.span[0] - could)
    return {stage: min(found) for stage, found in waits.items()}
