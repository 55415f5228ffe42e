"""Strategy drafting subagent: drafts one data generation strategy per error pattern, each different from the others."""

import re
from collections import Counter
from collections.abc import Collection, Sequence

from pydantic import BaseModel, ConfigDict, Field

from pada_agent.agents.pattern_analysis.pattern_categorization import MAX_PAIRS_SHOWN, define_labels
from pada_agent.agents.unusable_answers import describe_unusable
from pada_agent.core.records import ErrorPattern, Record, Strategy
from pada_agent.evaluation.repeats import rouge_l
from pada_agent.evaluation.task import Task
from pada_agent.evaluation.text_units import count_words, split_sentences, units_of
from pada_agent.prompts.numbering import number_from_one
from pada_agent.prompts.prompted_model import NoReply, PromptedModel, try_ask
from pada_agent.prompts.text_lengths import at_least

TOO_SIMILAR_ROUGE = 0.8
"""ROUGE-L F score of two generation approaches above which they count as the same strategy."""

PATTERNS_PER_CALL = (10, 5, 2)
"""Maximum number of patterns in a call, so that they fit into the context: at first, and in two more rounds for patterns that got no
strategy of their own. Smaller later, so that one pattern that a filter refuses or whose answer is too long does not take the others with it.
"""

_QUOTED = re.compile(
    r"""(?:"[^"]+"|“[^”]+”|„[^“”]+[“”]|«[^»]+»|「[^」]+」|『[^』]+』|(?<!\w)['‘](?:[^'’]|['’](?=\w))+['’](?!\w))"""
)
_SAMPLE_WORDS = 4
"""A quotation of fewer words is a term, not a sample."""
_MASK = "\0"
"""Stands for a sample while sentences are told apart: a sample may hold several."""
_MASKS = rf"{_MASK}(?:[\s,;]*(?:\b(?:or|and)\b\s*)?{_MASK})*"
_INSERTED = re.compile(
    rf"[\s,;]*(?:\(?[\s,;]*(?:\b(?:for example|for instance|such as|like|including)\b|e\.g\.)[\s,:]*{_MASKS}\)?"
    rf"|\(\s*{_MASKS}\s*\)|[:–—]\s*{_MASKS}(?=[.!?]?$))",
    re.IGNORECASE,
)
"""Samples that a sentence can do without."""


class Strategies(Record):
    """The strategies of a round, and warnings about patterns that got none."""

    strategies: tuple[Strategy, ...]
    warnings: tuple[str, ...] = ()


class StrategyItem(BaseModel):
    """What the LLM returns for one pattern."""

    model_config = ConfigDict(extra="ignore")

    pattern: int = Field(description="number of the pattern it is for")
    strategy_name: str = at_least(2, "short name")
    deciding_detail: str = Field(
        default="",
        description="the detail in the text that makes it the right answer and not the one given by mistake, 1 or 2 sentences",
    )
    generation_approach: str = at_least(
        15,
        "instructions to another writer: which situations to write about and how to make that detail decide, 2 to 4 sentences without samples",
    )
    key_elements: list[str] = Field(default_factory=list, description="2 to 4 things every example must contain")


def draft_strategies(
    patterns: Sequence[ErrorPattern], *, task: Task, analyst: PromptedModel, may_repeat: bool = False
) -> Strategies:
    """Ask about many patterns at once, so that the strategies differ. Ask again for patterns that were left out or got a duplicate.

    Args:
        may_repeat: accept duplicates, because the writer will not see the strategies' text (`generation.strategy_text: none`).
    """
    drafted: dict[str, Strategy] = {}
    unusable: list[str] = []
    n_calls = 0
    for size in PATTERNS_PER_CALL:
        waiting = [p for p in patterns if p.id not in drafted]
        for start in range(0, len(waiting), size):
            asked = waiting[start : start + size]
            answer = _ask(asked, list(drafted.values()), task=task, analyst=analyst, draw=n_calls)
            n_calls += 1
            if isinstance(answer, NoReply):
                unusable.append(answer.reason)
                continue
            for strategy in answer:
                if may_repeat or not any(is_same_strategy(strategy, other) for other in drafted.values()):
                    drafted.setdefault(strategy.pattern_id, strategy)
    left_out = [f"'{p.category_name}'" for p in patterns if p.id not in drafted]
    problem = describe_unusable("analyst", unusable, n_usable=n_calls - len(unusable))
    why = f": {problem}" if problem else ""
    return Strategies(
        strategies=tuple(tell_apart([drafted[p.id] for p in patterns if p.id in drafted])),
        warnings=(f"strategy drafting: no strategy of its own for {', '.join(left_out)}{why}",) if left_out else (),
    )


def split_by_known_labels(
    patterns: Sequence[ErrorPattern], known: Collection[str | None]
) -> tuple[list[ErrorPattern], tuple[str, ...]]:
    """The patterns for which rows can be written, and a warning about the others: no training row has the label that the student misses.

    Rows are written after training rows. For such a pattern, that would be rows of the label that is given by mistake, of which the student
    needs fewer.
    """
    lost = [p for p in patterns if p.confusions and not any(c.gold in known for c in p.confusions)]
    if not lost:
        return list(patterns), ()
    names = ", ".join(f"'{p.category_name}'" for p in lost)
    labels = ", ".join(dict.fromkeys(repr(c.gold) for p in lost for c in p.confusions))
    warning = f"strategy drafting: none for {names}, because no training row has the label that is missed there ({labels}). Add such rows"
    return [p for p in patterns if p not in lost], (warning,)


def is_same_strategy(one: Strategy, other: Strategy) -> bool:
    """Whether two strategies would produce the same data, because their approaches are nearly identical."""
    return rouge_l(one.generation_approach, other.generation_approach) >= TOO_SIMILAR_ROUGE


def tell_apart(strategies: Sequence[Strategy]) -> list[Strategy]:
    """The strategies, with the pattern in the name of each whose name another one has too: reports and warnings call them by name."""
    names = Counter(strategy.strategy_name.casefold() for strategy in strategies)
    return [
        strategy.model_copy(update={"strategy_name": f"{strategy.strategy_name} ({strategy.category_name})"})
        if names[strategy.strategy_name.casefold()] > 1
        else strategy
        for strategy in strategies
    ]


def cut_samples(text: str) -> str:
    """The text without the sample rows that it quotes: a writer copies them, and they may repeat held-out rows.

    A weak analyst quotes samples whatever its instructions say. A sentence that makes no sense without its sample is
    removed as a whole. A text that consists of nothing but samples is left unchanged.
    """
    masked = _QUOTED.sub(_mask_sample, text)
    sentences = [(s.rstrip(), s[len(s.rstrip()) :]) for s in split_sentences(masked)]
    kept = "".join(cut + space for sentence, space in sentences if (cut := _cut_inserted(sentence))).strip()
    return kept if count_words(units_of(kept)) > 1 else text


def _mask_sample(found: re.Match[str]) -> str:
    quoted, rest = found[0], found.string[found.end() :]
    if count_words(units_of(quoted)) < _SAMPLE_WORDS:
        return quoted
    ends_sentence = quoted[-2] in ".!?" and re.match(r"$|\s+[A-Z]", rest)
    return f"{_MASK}." if ends_sentence else _MASK


def _cut_inserted(sentence: str) -> str:
    """The sentence without the samples inserted into it. Empty if the sentence is about a sample."""
    if _MASK not in sentence:
        return sentence
    if (first := _INSERTED.search(sentence)) is None or first.start() == 0:
        return ""
    kept = _INSERTED.sub("", sentence)
    return "" if _MASK in kept else kept


def _ask(
    patterns: Sequence[ErrorPattern], taken: Sequence[Strategy], *, task: Task, analyst: PromptedModel, draw: int
) -> list[Strategy] | NoReply:
    """The strategies from one call."""
    pairs = [c for p in patterns for c in p.confusions[:MAX_PAIRS_SHOWN]]
    variables = {
        "task": task.about([]),
        "patterns": patterns,
        "n_pairs": MAX_PAIRS_SHOWN,
        "labels": define_labels(pairs, task),
        "taken": taken,
        "fields": task.draft_fields(),
    }
    reply = try_ask(
        analyst.ask,
        "strategy_drafting",
        variables,
        StrategyItem,
        numbered=number_from_one("pattern", len(patterns)),
        draw=str(draw),
        tags={"agent": "strategy_drafting"},
    )
    if isinstance(reply, NoReply):
        return reply
    return [_to_strategy(item, patterns[item.pattern - 1]) for item in reply.items]


def _to_strategy(item: StrategyItem, pattern: ErrorPattern) -> Strategy:
    return Strategy(
        id=pattern.id.replace("-p", "-s"),
        pattern_id=pattern.id,
        category_name=pattern.category_name,
        strategy_name=item.strategy_name,
        generation_approach=cut_samples(item.generation_approach),
        key_elements=tuple(cut_samples(e) for e in [item.deciding_detail, *item.key_elements[:4]] if e.strip()),
        confusions=pattern.confusions[:MAX_PAIRS_SHOWN],
    )
