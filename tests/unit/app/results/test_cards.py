from typing import Any

import pytest
import yaml
from huggingface_hub import DatasetCard, ModelCard

from pada_agent.app.results.cards import write_adapter_card, write_data_card
from pada_agent.core.config import RunConfig
from pada_agent.core.records import Branch
from pada_agent.graph.summary import RowCounts
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


def test_a_revision_of_a_data_set_is_not_part_of_its_name() -> None:
    config = RunConfig.model_validate(
        {
            "data": {
                "train": "hub:owner/rows@refs/convert/parquet:config/train[:80%]",
                "validation": "hub:owner/other@v1/test",
                "held_back": "hub:owner/spare/train",
            },
            "generation": {"sources": "held_back"},
        }
    )
    values = read_front_matter(write_data_card(make_summary(), {"held_back": 2}, config))
    assert values["source_datasets"] == ["owner/rows", "owner/other", "owner/spare"]
    unused = config.model_copy(update={"generation": configure().generation})
    assert "owner/spare" not in write_data_card(make_summary(), {"pattern": 2}, unused)


def test_a_pinned_student_is_named_without_its_commit() -> None:
    summary = make_summary(student="owner/small@v2")
    assert read_front_matter(write_adapter_card(summary, summary.models[-1], {}))["base_model"] == "owner/small"


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
    card = DatasetCard(write_data_card(make_summary(), {"pattern": n_rows}, configure(), license="cc-by-4.0"))
    values = card.data.to_dict()
    assert (values["license"], values["size_categories"]) == ("cc-by-4.0", [size])
    assert values["configs"][0]["data_files"] == [{"split": "train", "path": "data/train.jsonl"}]


WRITER, JUDGE = "openai:writer", "openai:judge"


def write_both(n_by_branch: dict[Branch, int], *, solved: int = 0, **changes: Any) -> tuple[str, str]:
    """The cards of an adapter and of its rows."""
    config = RunConfig.model_validate(
        {"models": {"generator": {"model": WRITER}, "judge": {"model": JUDGE}}, **changes}
    )
    n_rows, n_real = sum(n_by_branch.values()), n_by_branch.get("held_back", 0)
    summary = make_summary(rows=RowCounts(solved=solved))
    model = summary.models[-1].model_copy(update={"n_synthetic": n_rows})
    return write_adapter_card(summary, model, {}, config, n_real=n_real), write_data_card(summary, n_by_branch, config)


def test_cards_of_the_usual_arm_say_that_an_llm_wrote_rows_against_errors_and_a_judge_rated_them() -> None:
    adapter, data = write_both({"pattern": 6, "training_error": 3})
    assert (
        f"All were written by `{WRITER}`, against the student's errors, and checked by rules and rated by `{JUDGE}`."
        in data
    )
    assert "Trained on 180 rows, 9 of them synthetic." in adapter
    for card in (adapter, data):
        assert "They were checked by rules and a judge" in card and f"The terms of `{WRITER}`" in card
    assert "synthetic" in read_front_matter(data)["tags"] and "synthetic-data" in read_front_matter(adapter)["tags"]


def test_cards_of_real_rows_name_no_writer_and_no_judge() -> None:
    adapter, data = write_both(
        {"held_back": 9}, generation={"sources": "held_back", "pattern_share": 0}, quality={"enabled": False}
    )
    assert "# demo: real rows" in data and "All are real rows" in data and "Each row is a real row:" in data
    assert "Trained on 180 rows, 9 of them real ones that were held back at first." in adapter
    for card in (adapter, data):
        assert WRITER not in card and JUDGE not in card
        assert "written by an LLM" not in card and "9 of them synthetic" not in card
        assert not {"synthetic", "synthetic-data"} & set(read_front_matter(card)["tags"])


def test_cards_of_rows_of_both_kinds_count_each() -> None:
    adapter, data = write_both({"pattern": 6, "held_back": 3}, generation={"sources": "held_back"})
    assert "6 were written by" in data and "3 are real rows" in data
    assert "6 of them synthetic, 3 of them real ones" in adapter


@pytest.mark.parametrize(
    ("n_by_branch", "aim"),
    [
        ({"training_error": 9}, "from training rows, whatever the student's errors,"),
        ({"pattern": 6, "training_error": 3}, "6 of them against the student's errors,"),
    ],
)
def test_rows_that_were_written_blindly_are_not_said_to_be_against_errors(
    n_by_branch: dict[Branch, int], aim: str
) -> None:
    _, data = write_both(n_by_branch, generation={"sources": "training_rows"})
    assert f"`{WRITER}`, {aim} and checked" in data


@pytest.mark.parametrize(("solved", "checks"), [(0, "by rules, and"), (4, "by rules and a judge, and")])
def test_a_judge_that_was_switched_off_is_named_only_if_it_answered_rows(solved: int, checks: str) -> None:
    for card in write_both({"pattern": 9}, solved=solved, quality={"enabled": False}):
        assert f"They were checked {checks} by people" in card and "rated by" not in card


def test_the_card_of_a_model_without_added_rows_says_nothing_of_an_llm() -> None:
    adapter, _ = write_both({})
    assert "Trained on 180 rows.\n" in adapter
    assert "LLM" not in adapter and WRITER not in adapter and "synthetic-data" not in adapter
