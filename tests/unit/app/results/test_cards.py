from typing import Any

import pytest
import yaml
from huggingface_hub import DatasetCard, ModelCard

from pada_agent.app.results.cards import write_adapter_card, write_data_card
from pada_agent.core.config import RunConfig
from tests.unit.app.summaries import make_summary


def configure(**data: str) -> RunConfig:
    return RunConfig.model_validate({"data": data})


def read_front_matter(card: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(card.split("---\n")[1])
    return found


def test_the_hub_reads_the_adapters_results() -> None:
    summary = make_summary()
    card = ModelCard(write_adapter_card(summary, summary.models[-1], {}))
    found = {(r.dataset_split, r.metric_type): r.metric_value for r in card.data.eval_results or []}
    assert found == {("validation", "accuracy"): 0.6, ("test", "accuracy"): 0.6}
    assert (card.data.base_model, card.data.license, card.data.library_name) == (summary.student, "unknown", "peft")
    assert card.data.datasets is None


def test_the_card_names_the_base_weights_the_verdict_and_the_alarms() -> None:
    summary = make_summary(warnings=("a warning",), alarms=("at chance",))
    card = write_adapter_card(summary, summary.models[-1], {"student.gguf": "b179c952"})
    assert "It fits only these base weights: `student.gguf`, SHA-256 `b179c952`." in card
    assert summary.verdict in card and "- at chance" in card and "a warning" not in card
    assert "SHA-256" not in write_adapter_card(summary, summary.models[-1], {})


def test_data_sets_of_the_hub_are_named_and_files_are_not() -> None:
    summary = make_summary()
    hub = configure(train="hub:owner/rows:main/train", validation="hub:owner/rows/test", test="/home/me/secret.jsonl")
    values = read_front_matter(write_adapter_card(summary, summary.models[-1], {}, hub))
    assert values["datasets"] == ["owner/rows"]
    assert values["model-index"][0]["results"][0]["dataset"]["type"] == "owner/rows"
    assert "secret" not in write_adapter_card(summary, summary.models[-1], {}, hub)


def test_a_student_in_a_folder_is_named_without_its_place() -> None:
    summary = make_summary(student="/home/me/models/small")
    card = write_adapter_card(summary, summary.models[-1], {})
    assert "base_model: small\n" in card and "/home/me" not in card


@pytest.mark.parametrize("name", ["a: b", "- x", "'\"", "#no", "---", "{{x}}"])
def test_a_runs_name_cannot_break_the_front_matter(name: str) -> None:
    summary = make_summary(name=name)
    card = ModelCard(write_adapter_card(summary, summary.models[-1], {}))
    assert card.data.model_name == f"{name}: iteration 1"


@pytest.mark.parametrize(("n_rows", "size"), [(999, "n<1K"), (1000, "1K<n<10K"), (10**6, "n>100K")])
def test_the_card_of_the_data(n_rows: int, size: str) -> None:
    card = DatasetCard(write_data_card(make_summary(), n_rows, configure(), license="cc-by-4.0"))
    values = card.data.to_dict()
    assert (values["license"], values["size_categories"]) == ("cc-by-4.0", [size])
    assert values["configs"][0]["data_files"] == [{"split": "train", "path": "data/train.jsonl"}]
