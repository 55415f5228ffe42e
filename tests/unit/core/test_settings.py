"""Copies of settings with other values, as an application makes them."""

from typing import Any

import pytest
from pydantic import ValidationError

from pada_agent.core.config import RunConfig
from pada_agent.core.errors import ConfigError

OWN = RunConfig.model_validate(
    {
        "name": "own",
        "lora": {"rank": 4, "alpha": 8},
        "models": {"analyst": {"model": "openai:a", "max_concurrency": 3}},
        "task": {"labels": {"fruit": "", "tool": ""}},
    }
)


@pytest.mark.parametrize(
    ("change", "same_as"),
    [
        ({"lora": {"n_steps": 5}}, {"lora": {"rank": 4, "alpha": 8, "n_steps": 5}}),
        (
            {"models": {"analyst": {"model": "openai:b"}}},
            {"models": {"analyst": {"model": "openai:b", "max_concurrency": 3}}},
        ),
        ({"task": {"labels": {"animal": ""}}}, {"task": {"labels": {"animal": ""}}}),
        ({"budget": {"max_calls": 5}, "seed": 3}, {"budget": {"max_calls": 5}, "seed": 3}),
    ],
)
def test_a_mapping_changes_only_the_settings_of_a_group_that_it_names(change: Any, same_as: Any) -> None:
    wanted = RunConfig.model_validate({**OWN.model_dump(exclude_unset=True), **same_as})
    changed = OWN.model_copy(update=change)
    assert changed == wanted and changed.model_dump(exclude_unset=True) == wanted.model_dump(exclude_unset=True)
    assert changed.name == "own" and OWN.lora.n_steps is None, "the original stays"


def test_a_copy_with_a_setting_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"budjet: there is no such setting\. Did you mean 'budget'"):
        OWN.model_copy(update={"budjet": {"max_calls": 5}})
    with pytest.raises(ValidationError, match="max_cals"):
        OWN.model_copy(update={"budget": {"max_cals": 5}})
