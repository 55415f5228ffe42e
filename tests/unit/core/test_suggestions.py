"""What a person may have meant: in settings, and wherever a name is looked up."""

from pathlib import Path

import pytest

from pada_agent.core.config_files import load_config
from pada_agent.core.errors import ConfigError
from pada_agent.core.suggestions import suggest


@pytest.mark.parametrize(
    ("name", "known", "meant"),
    [
        ("gsm9k", ("gsm8k", "squad"), "gsm8k"),
        ("Multiple-Choice", ("multiple_choice", "exact_match"), "multiple_choice"),
        ("smollm2", ("smollm2-135m-instruct", "all-mpnet-base-v2"), "smollm2-135m-instruct"),
        ("positive", ("neg", "pos"), "pos"),
        ("q", ("qwen", "smollm2"), None),
        ("tickets", ("numeric", "squad"), None),
        ("x" * 10_000, ("xx",), None),
        (None, ("none_of_these",), None),
    ],
)
def test_a_name_that_is_alike_is_suggested(name: object, known: tuple[str, ...], meant: str | None) -> None:
    assert suggest(name, known) == (f" Did you mean {meant!r}?" if meant else "")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("loop: {max_iteration: 1}", "loop.max_iteration: there is no such setting. Did you mean 'max_iterations'?"),
        ("models: {judge: {model: 'a:b', baseurl: x}}", "models.judge.baseurl: there is no such setting. Did you mean 'base_url'?"),
        ("learning_rate: 1", "learning_rate: there is no such setting. Did you mean 'lora.learning_rate'?"),
        ("lora: {train_limit: 1}", "lora.train_limit: there is no such setting. Did you mean 'data.train_limit'?"),
        ("wholly_other: 1", "wholly_other: there is no such setting."),
        ("data: {on_overlap: dropp}", "data.on_overlap: Input should be 'error' or 'drop'. Did you mean 'drop'?"),
        ("task: {gold_is: index_from1}", "task.gold_is: Input should be .*. Did you mean 'index_from_1'?"),
        ("data: {on_overlap: [1]}", "data.on_overlap: Input should be 'error' or 'drop'."),
        ("generation: {template: rephrase}", "generation.template: there is no recipe 'rephrase'; .*. Did you mean 'rephrasing'?"),
        ("task: {labels: [neg, pos], label_values: {1: good}}", "task: label_values: '1' stands for 'good', but the labels are neg, pos."),
        ("task: {labels: [neg, pos], label_values: {1: poss}}", "task: label_values: .* Did you mean 'pos'?"),
        ("task: {labels: [a, '']}", "task.labels: a label is empty: .*"),
        ("name: a/b", "name: expected letters, digits, '.', '_' and '-', the first a letter or a digit: it is also the name of a folder"),
        ("name: " + "a" * 300, "name: String should have at most 100 characters"),
        ("models: {judge: {model: 'a:b', api_key_env: sk-1}}", "models.judge.api_key_env: expected the name of an environment variable, such as OPENAI_API_KEY"),
    ],
)  # fmt: skip
def test_unknown_settings_and_values_say_what_may_be_meant(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text + "\n")
    pattern = told.replace("?", r"\?")
    with pytest.raises(ConfigError, match=rf"^{path}: {pattern}$"):
        load_config(path)


def test_label_values_may_differ_from_labels_in_case(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("task: {labels: [Neg, pos], label_values: {0: neg, 1: POS}}\n")
    assert load_config(path).task.label_values == {"0": "neg", "1": "POS"}
