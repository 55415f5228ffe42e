"""Your own verifier, generator and judge in the standard wiring, without a fork.

    python examples/embedding/own_parts.py mytask.yaml

The settings name the generator `own:NAME`, for the chat model that `connect` brings. The judge is a rule here, not an LLM.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_openai import ChatOpenAI

from pada_agent import (
    Adapters,
    Connect,
    Example,
    MultipleChoice,
    PromptedModel,
    RunConfig,
    RunSummary,
    StructuredOutputError,
    StructuredReply,
    Verdict,
    bring_chat_model,
    build_graph,
    load_config,
)
from pada_agent import connect as standard_connect


class StrictChoice(MultipleChoice):
    """Your own verifier: a synthetic message must be long enough to be a message."""

    def verify_label(self, example: Example) -> Verdict:
        n_words = len(example.reference["question"].split())
        value, reason = ("correct", "") if n_words >= 3 else ("wrong", f"{n_words} words are no message")
        return Verdict(example_id=example.id, value=value, reason=reason)


@dataclass(frozen=True)
class RuleJudge(PromptedModel):
    """Your own judge: it gets what the prompt would show and returns the items that an LLM would.

    It cannot answer rows itself (`answer_solving`); rows without such an answer are rated anyway.
    """

    def ask(self, template: str, variables: Mapping[str, Any], item: type[Any], **_: Any) -> StructuredReply[Any]:
        if template != "quality_control":
            raise StructuredOutputError(f"this judge rates rows (quality_control), it cannot answer {template}")
        scores = {name: 8 for name in item.model_fields if name in ("adherence", "utility", "relevance")}
        items = [item(sample=p["number"], reason="follows the rules", **scores) for p in variables["pairs"]]
        return StructuredReply(tuple(items), problems=(), call_keys=())


def make_connect(chat: BaseChatModel) -> Connect:
    """The standard adapters with three of them replaced."""

    def connect(config: RunConfig) -> Adapters:
        standard = standard_connect(config)
        return replace(
            standard,
            task=StrictChoice(config.task),
            generator=bring_chat_model(standard.generator, chat),
            judge=RuleJudge(standard.judge.model),
        )

    return connect


def main(config: str, chat: BaseChatModel | None = None) -> RunSummary:
    graph = build_graph(make_connect(chat or ChatOpenAI(model="gpt-4o", max_retries=0))).compile()
    summary: RunSummary = graph.invoke({}, context=load_config(Path(config)))["summary"]
    return summary


if __name__ == "__main__":
    print(main(*sys.argv[1:]).verdict)
