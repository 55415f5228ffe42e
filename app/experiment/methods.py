"""The methods that can be compared. Each is a set of settings for the one graph.

docs/arms.md says what the matched budget changes in each published method.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

from pydantic import Field

from pada_agent.core import plugins
from pada_agent.core.config import RunConfig
from pada_agent.core.config_files import Options, list_values, parse_local_config, set_value, spell_out
from pada_agent.core.plugins import find_part
from pada_agent.core.records import Record

Measured = Literal["untouched", "fine-tuned", "augmented"]


class Method(Record):
    """A method: what it changes in the settings, and which of its run's models represents it."""

    about: str
    """What it does, in one line."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Settings to change, as a mapping from `a.b` to the value."""
    measured: Measured = "augmented"
    """`augmented` is the best augmentation round by the selection part."""


_UNCHECKED = {"quality.enabled": False, "quality.max_label_rank": None, "verification.votes": 0}
_ONLY_ERROR_BRANCH = {"generation.pattern_share": 0, **_UNCHECKED}
BASELINE_SETTINGS = {
    **_ONLY_ERROR_BRANCH,
    "generation.n_shown_labels": 0,
    "generation.spare_rows": 0,
    "generation.vary_answers": False,
    "generation.solved_share": 0,
    "generation.balance_labels": False,
}
"""What the published methods that PaDA-Agent is compared with have in common: one branch, and none of our additions."""
_AUGGPT = {
    **BASELINE_SETTINGS,
    "generation.sources": "training_rows",
    "generation.template": "rephrasing",
    "generation.near_duplicate_rouge": 1.0,
}
_FROM_ERRORS = {**BASELINE_SETTINGS, "generation.sources": "training_errors"}
_LE = {**_FROM_ERRORS, "generation.template": "training_error_generation"}
_LEC = {**_FROM_ERRORS, "generation.template": "contrast_generation", "generation.n_contrasts": 3}
_LLM2LLM = {
    **_FROM_ERRORS,
    "generation.template": "similar_item_generation",
    "generation.max_rows_per_error": 1,
    "generation.near_duplicate_rouge": 0.95,
}
_OWN_STEPS = {"lora.n_steps": None}
_WRONG_ANSWERS_ONLY = {**_OWN_STEPS, "generation.share": 1, "generation.error_source": "train"}
"""One row for each wrong answer, at most as many as there are training rows. Other rows are no sources, however few wrong answers there are."""
_INSTRUCTORS_NATIVE = {**_WRONG_ANSWERS_ONLY, "generation.max_rows_per_error": 1, "generation.show_answer": False}
_PAPER = {
    "analysis.analysis_weight": 1,
    "analysis.question_weight": 0,
    "analysis.outcome_weight": 0,
    "generation.sources": "training_errors",
    "generation.template": "training_error_generation",
    "generation.allocation": "even",
    "generation.accumulate": True,
    "generation.n_demonstrations": 0,
    "generation.n_shown_labels": 0,
    "generation.error_source": "train",
    "generation.max_rows_per_error": None,
    "generation.max_top_ups": 0,
    "generation.spare_rows": 0,
    "generation.vary_answers": False,
    "generation.solved_share": 0,
    "generation.pattern_sources": "random",
    "generation.strategy_text": "whole",
    "generation.balance_labels": False,
    "generation.match_form": False,
    "quality.enabled": True,
    "quality.accept": "batch",
    "quality.floor": 1,
    "quality.threshold": 7,
    "quality.max_label_rank": None,
    "quality.max_regenerations": 3,
    "verification.votes": 0,
}
"""The published method, as far as it is said: failures grouped by their analyses alone, sources drawn by chance, the judge's mean
opinion of a batch as the only gate, and no row made up for."""

METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "untouched": Method(about="the original student", settings={"loop.max_iterations": 0}, measured="untouched"),
        "vanilla": Method(
            about="fine-tuned on the training rows for the settings' own steps or epochs",
            settings={"loop.max_iterations": 0},
            measured="fine-tuned",
        ),
        "vanilla_equal_steps": Method(
            about="fine-tuned on the training rows for as many steps as the augmented arms",
            settings={"loop.max_iterations": 0},
            measured="fine-tuned",
        ),
        "oracle": Method(
            about="real rows, as many as synthetic ones would be: shows the headroom",
            settings={
                **_ONLY_ERROR_BRANCH,
                "generation.sources": "held_back",
                "generation.near_duplicate_rouge": 1.0,
            },
        ),
        "auggpt": Method(
            about="AugGPT: training rows rephrased, answers copied, whatever the student got wrong", settings=_AUGGPT
        ),
        "le": Method(about="LLMs-as-Instructors, learning from error", settings=_LE),
        "lec": Method(about="LLMs-as-Instructors, learning from error by contrast", settings=_LEC),
        "llm2llm": Method(about="LLM2LLM: at most one new row for each training error", settings=_LLM2LLM),
        "pada": Method(about="PaDA-Agent"),
        "pada_paper": Method(about="PaDA-Agent as published (arXiv 2510.18143)", settings=_PAPER),
        "pada_no_quota": Method(
            about="PaDA-Agent without replacement of rejected rows",
            settings={"generation.max_top_ups": 0, "generation.spare_rows": 0},
        ),
        "pada_no_variations": Method(
            about="PaDA-Agent whose writer writes every answer itself", settings={"generation.vary_answers": False}
        ),
        "pada_no_patterns": Method(about="PaDA-Agent without patterns", settings={"generation.pattern_share": 0}),
        "pada_no_errors": Method(about="PaDA-Agent without training errors", settings={"generation.pattern_share": 1}),
        "pada_no_quality": Method(about="PaDA-Agent without quality control", settings=_UNCHECKED),
        "auggpt_native": Method(
            about="AugGPT at its own budget: one pass, six rephrasings a row",
            settings={**_AUGGPT, **_OWN_STEPS, "generation.share": 6, "loop.max_iterations": 1},
        ),
        "le_native": Method(
            about="LE at its own budget: one row for each error, the right answer not shown",
            settings={**_LE, **_INSTRUCTORS_NATIVE},
        ),
        "lec_native": Method(
            about="LEC at its own budget: one row for each error, the right answer not shown",
            settings={**_LEC, **_INSTRUCTORS_NATIVE},
        ),
        "llm2llm_native": Method(
            about="LLM2LLM at its own budget: every wrong row once a round, five rounds, no early stop",
            settings={**_LLM2LLM, **_WRONG_ANSWERS_ONLY, "loop.max_iterations": 5, "loop.patience": 5},
        ),
    }
)
"""Methods by name. Those that end in `_native` leave the matched budget."""


def find_method(name: str) -> Method:
    """The method with that name, built in or from another package (entry points of the group `pada_agent.methods`).

    Raises:
        ConfigError: there is no such method.
    """
    return find_part(name, plugins.METHODS, built_in=METHODS, accept=lambda found: isinstance(found, Method))


def apply_settings(
    config: RunConfig, settings: Mapping[str, Any], *, origin: str, origins: Options = MappingProxyType({})
) -> RunConfig:
    """The configuration with the changes in `settings`, a mapping from `a.b` to the value. Of a group, the settings that it names are changed.

    Args:
        origin: what errors name.
        origins: what they name instead, by the key of the setting.

    Raises:
        ConfigError: there is no such key, or the value is not valid.
    """
    values = list_values(config)
    for key, value in spell_out(settings):
        values = set_value(values, key, value, origin=origins.get(key, origin))
    return parse_local_config(values, origin=origin, options=origins)
