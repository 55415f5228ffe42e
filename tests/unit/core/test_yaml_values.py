"""What is written as YAML is read as the same."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pada_agent.app.run_folder.layout import dump_config
from pada_agent.core.config_files import load_config, parse_config
from pada_agent.core.yaml_values import read_values, write_values

TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"])), st.from_regex(r"[-+]?[0-9._eE]{1,6}", fullmatch=True)
)
NUMBERS = st.one_of(st.integers(-(2**63), 2**63), st.floats(allow_nan=False, allow_infinity=False))
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=6,
)


@given(VALUES)
def test_values_are_read_as_they_were_written(value: Any) -> None:
    assert read_values(write_values(value)) == value


@pytest.mark.parametrize(
    "text", ["0812", "1e3", "08", "+1", ".5", "1.", "Null", "yes", "1:30", "2024-05-17", "<<", "="]
)
def test_a_text_is_quoted_if_a_reader_of_either_version_would_take_it_for_something_else(text: str) -> None:
    written = write_values({"a": text, text: "b"})
    assert read_values(written) == yaml.safe_load(written) == {"a": text, text: "b"}


def test_texts_in_free_mappings_come_back_from_the_folder_of_a_run(tmp_path: Path) -> None:
    values = {
        "models": {"generator": {"model": "openai:m", "extra": {"user": "0812", "p": [1e-5, "1e-5"]}}},
        "student": {"template_arguments": {"date": "1e3", "effort": 1}},
    }
    config = parse_config(values, origin="test")
    (path := tmp_path / "config.yaml").write_text(dump_config(config), encoding="utf-8")
    assert load_config(path) == config
