"""The demo's requests to its teacher (C6): which ones, in which order, how they are sent, and the answers."""

import json
import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise, takewhile
from pathlib import Path
from typing import Any, cast

import httpx
from langchain_core.language_models import BaseChatModel

from benchmarks.engine import post
from benchmarks.measuring import BenchmarkError
from pada_agent.app.adapters.llm.clients import OpenAIClient
from pada_agent.core.chat import ChatRequest
from pada_agent.core.config_files import load_config
from pada_agent.core.json_lines import read_json_lines
from pada_agent.core.model_config import ModelConfig

REQUESTS = Path(__file__).with_name("recordings") / "demo_requests.jsonl"
CONFIG = Path(__file__).parents[1] / "configs" / "demo.yaml"
MOST_TOKENS = 200
"""Maximum length of an answer, because at temperature 0 a small model may repeat itself up to its limit."""
TIE_NATS = 0.1
"""Two tokens with log-probabilities this close may go either way, because other batches sum in another order."""
MAX_TIED = 0.2
"""Fraction of the requests."""
N_PROBABILITIES = 20

Body = dict[str, Any]
Tokens = tuple[int, ...]


@dataclass(frozen=True)
class Answer:
    """The engine's answer to one request."""

    text: str
    n_tokens: int
    n_computed: int
    """Prompt tokens that were computed; the others were cached."""


@dataclass(frozen=True)
class Replay:
    """All requests, sent once."""

    seconds: float
    answers: tuple[Answer, ...]
    """In the order of the recording, in whatever order they were sent."""

    @property
    def per_minute(self) -> float:
        return 60 * len(self.answers) / self.seconds

    @property
    def n_written(self) -> int:
        return sum(answer.n_tokens for answer in self.answers)

    @property
    def n_computed(self) -> int:
        return sum(answer.n_computed for answer in self.answers)


def teacher_config() -> ModelConfig:
    """The demo's teacher."""
    return load_config(CONFIG).models.generator


def choose(requests: Sequence[ChatRequest], n: int) -> list[ChatRequest]:
    """`n` of them, or all, in their order: of each template in proportion, at least one."""
    by_template: dict[str, list[int]] = {}
    for i, request in enumerate(requests):
        by_template.setdefault(str(request.tags["prompt"]), []).append(i)
    chosen: set[int] = set()
    for places in by_template.values():
        n_of_these = max(1, min(len(places), round(n * len(places) / len(requests))))
        chosen.update(places[i * len(places) // n_of_these] for i in range(n_of_these))
    return [request for i, request in enumerate(requests) if i in chosen]


def read_requests(n: int, *, most_rows: int | None = None) -> list[ChatRequest]:
    """The recorded requests to send: `n` of all, or of those for at most `most_rows` rows."""
    found = read_json_lines(REQUESTS, ChatRequest)
    return choose([r for r in found if most_rows is None or _count_rows(r) <= most_rows], n)


def _count_rows(request: ChatRequest) -> float:
    is_writing = str(request.tags["prompt"]).endswith("_generation")
    return int((request.json_schema or {})["maxItems"]) if is_writing else math.inf


def make_body(request: ChatRequest, *, most_tokens: int = MOST_TOKENS) -> Body:
    """The request as `pada` sends it, but at temperature 0."""
    client = OpenAIClient(cast(BaseChatModel, None), teacher_config(), limit="max_tokens", constrain=True, wrap=False)
    limit = min(request.max_output_tokens, most_tokens)
    return {
        "messages": [message.model_dump() for message in request.messages],
        "temperature": 0,
        **client.make_body(request.model_copy(update={"max_output_tokens": limit}), frozenset()),
    }


def write_compact(body: Body) -> Body:
    """The same, but asking for JSON without spaces and line breaks."""
    changed: Body = json.loads(json.dumps(body))
    changed["response_format"]["json_schema"]["schema"]["x-guidance"] = {"whitespace_flexible": False}
    return changed


def write_freely(body: Body) -> Body:
    """The same without a schema."""
    return {name: value for name, value in body.items() if name != "response_format"}


def put_static_first(bodies: Sequence[Body], templates: Sequence[str]) -> list[Body]:
    """Move paragraphs that more of a template's prompts share to the front. Only for speed: the text may be hard to follow."""
    frequency: dict[str, Counter[str]] = {}
    for body, template in zip(bodies, templates, strict=True):
        frequency.setdefault(template, Counter()).update(set(_text(body).split("\n\n")))
    changed = []
    for body, template in zip(bodies, templates, strict=True):
        parts = sorted(_text(body).split("\n\n"), key=lambda part: -frequency[template][part])
        changed.append({**body, "messages": [{"role": "user", "content": "\n\n".join(parts)}]})
    return changed


def order_by_prefix(bodies: Sequence[Body]) -> list[int]:
    """Positions of the requests, ordered so that those with a common prefix are next to each other."""
    return sorted(range(len(bodies)), key=lambda i: _text(bodies[i]))


def _text(body: Body) -> str:
    return str(body["messages"][-1]["content"])


def replay(
    client: httpx.Client, bodies: Sequence[Body], *, n_callers: int, order: Sequence[int] | None = None
) -> Replay:
    """Send all, `n_callers` at a time, as fast as they are answered."""
    places = list(range(len(bodies))) if order is None else list(order)
    start = time.perf_counter()
    with ThreadPoolExecutor(n_callers) as pool:
        answers = dict(zip(places, pool.map(lambda i: ask(client, bodies[i]), places), strict=True))
    seconds = time.perf_counter() - start
    return Replay(seconds, tuple(answers[i] for i in range(len(bodies))))


def ask(client: httpx.Client, body: Body) -> Answer:
    found = post(client, "/v1/chat/completions", body)
    return Answer(
        text=found["choices"][0]["message"]["content"] or "",
        n_tokens=found["usage"]["completion_tokens"],
        n_computed=found["timings"]["prompt_n"],
    )


def tokenize(client: httpx.Client, body: Body) -> Tokens:
    """The prompt's tokens."""
    prompt = post(client, "/apply-template", {"messages": body["messages"]})["prompt"]
    return _tokenize_text(client, prompt)


def _tokenize_text(client: httpx.Client, text: str) -> Tokens:
    return tuple(post(client, "/tokenize", {"content": text, "parse_special": True})["tokens"])


def count_common(first: Tokens, second: Tokens) -> int:
    """Number of tokens that both begin with."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False)))


def count_distinct(prompts: Sequence[Tokens]) -> int:
    """Number of tokens to compute if every shared prefix is computed once."""
    ordered = sorted(prompts)
    shared = sum(count_common(a, b) for a, b in pairwise(ordered))
    return sum(len(prompt) for prompt in ordered) - shared


def check_parity(
    names: Sequence[str], repetitions: Sequence[Sequence[Sequence[str]]], gap_of: Callable[[int, str, str], float]
) -> str:
    """Compare the first arm's last texts with each of the others'.

    Requests that are answered together are summed in another order each time, so an arm's own repetitions differ as well. Texts
    may diverge at wider gaps than `TIE_NATS`, and more often than `MAX_TIED`, as far as the other arm's own repetitions do.

    Args:
        names: names of the arms.
        repetitions: for each arm, the texts of each repetition.
        gap_of: takes the request's position and two texts; returns the nats between the two tokens where they diverge.

    Raises:
        BenchmarkError: texts diverge where there is no tie, or too many diverge.
    """
    told = []
    ours = repetitions[0][-1]
    for name, others in zip(names[1:], repetitions[1:], strict=True):
        gaps = find_gaps(ours, others[-1], gap_of)
        own = [find_gaps(before, after, gap_of) for before, after in pairwise(others)]
        most_nats = max([TIE_NATS, *(gap for found in own for gap in found.values())])
        most_tied = MAX_TIED + max([0.0, *(len(found) / len(ours) for found in own)])
        if any(gap > most_nats for gap in gaps.values()) or len(gaps) > most_tied * len(ours):
            raise BenchmarkError(
                f"{names[0]} and {name}: {len(gaps)} of {len(ours)} texts differ; nats between the tokens where they"
                f" diverge, by request: {gaps}; between {name}'s own repetitions: {own}"
            )
        widest = f", at most {max(gaps.values()):.2g} nats apart" if gaps else ""
        told.append(
            f"{len(ours) - len(gaps)} of {len(ours)} texts are the same as {name}'s, {len(gaps)} diverge at a tie{widest}"
        )
        if own:
            own_gaps = [gap for found in own for gap in found.values()]
            told.append(
                f"between {name}'s own repetitions, {' and '.join(str(len(found)) for found in own)} diverge"
                + (f", at most {max(own_gaps):.2g} nats apart" if own_gaps else "")
            )
    return "; ".join(told)


def find_gaps(
    first: Sequence[str], second: Sequence[str], gap_of: Callable[[int, str, str], float]
) -> dict[int, float]:
    """The nats between the tokens where two answers to the same request diverge, by request. Equal answers are left out."""
    pairs = enumerate(zip(first, second, strict=True))
    return {i: gap_of(i, a, b) for i, (a, b) in pairs if a != b}


def measure_gap(client: httpx.Client, prompt: Tokens, first: str, second: str) -> float:
    """Nats between the next tokens of two answers where they diverge. Infinite if one of them is not among the likely ones."""
    a, b = _tokenize_text(client, first), _tokenize_text(client, second)
    n = count_common(a, b)
    if n == min(len(a), len(b)):
        return float("inf")
    body = {"prompt": [*prompt, *a[:n]], "n_predict": 1, "n_probs": N_PROBABILITIES, "temperature": 0}
    (found,) = post(client, "/completion", body)["completion_probabilities"]
    likely: dict[int, float] = {entry["id"]: entry["logprob"] for entry in found["top_logprobs"]}
    return abs(likely.get(a[n], float("-inf")) - likely.get(b[n], float("inf")))
