"""What the first node of a run refuses: rows, lengths and machine at once."""

from types import SimpleNamespace
from typing import Any

import pytest

from pada_agent.core.config import RunConfig, TaskConfig
from pada_agent.core.config_files import parse_config
from pada_agent.core.errors import ConfigError, SandboxError, TrainingError
from pada_agent.evaluation.rows.findings import stop, warn
from pada_agent.evaluation.tasks.exact_match import ExactMatch
from pada_agent.graph.data_check import refuse
from pada_agent.graph.run_check import RunCheck, check_everything
from tests.fakes import MemoryDatasets, WordCounter

Rows = list[dict[str, Any]]


def ask(split: str, n: int, **fields: Any) -> Rows:
    return [{"question": f"{split} asks of number {i * 7}", "answer": f"it is {i}", **fields} for i in range(n)]


GOOD = {"train": ask("train", 4), "validation": ask("validation", 50), "test": ask("test", 50)}


class Unsafe(ExactMatch):
    def check_machine(self) -> tuple[str, ...]:
        raise SandboxError("nothing is confined here")


class Strange(WordCounter):
    def count(self, example: object) -> Any:
        del example
        raise TrainingError("student 'x' cannot be loaded")


def check(
    memory: dict[str, Rows], *, kind: type[ExactMatch] = ExactMatch, tokens: Any = None, **settings: Any
) -> RunCheck:
    data = {**{name: f"memory:{name}" for name in memory}, **settings.pop("data", {})}
    config = parse_config({"task": {"name": "exact_match"}, "data": data, **settings}, origin="test")
    task = kind(TaskConfig(name="exact_match"))
    adapters: Any = SimpleNamespace(datasets=MemoryDatasets(memory), task=task, tokens=tokens)
    return check_everything(config, {}, adapters)


def test_nothing_is_said_of_a_good_run() -> None:
    found = check(GOOD, tokens=WordCounter(100))
    assert (found.findings, found.warnings) == ([], [])
    assert found.lengths is not None and found.lengths.files["train"].prompt.longest == 5
    assert check(GOOD).lengths is None


def test_rows_lengths_and_machine_are_told_at_once() -> None:
    long = [{"question": "why " * 30, "answer": "so"}]
    found = check(
        {**GOOD, "train": [*GOOD["train"], *long, {"question": "", "answer": "no"}]},
        kind=Unsafe,
        tokens=WordCounter(100),
        lora={"max_length": 20},
    )
    assert [finding.kind for finding in found.findings] == ["machine", "rows", "rows"]
    machine, unread, length = [finding.text for finding in found.findings]
    assert machine == "nothing is confined here"
    assert unread.startswith("memory:train:6: field 'question' is empty")
    assert length.startswith("memory:train:5: too long to be trained on, with up to 32 tokens")


def test_settings_for_labels_are_idle_without_labels() -> None:
    found = check(
        GOOD,
        generation={"n_shown_labels": 4},
        quality={"max_label_rank": 1},
        data={"train_on_definitions": True},
    )
    assert found.warnings == [
        "quality.max_label_rank does nothing, because task.labels is empty",
        "generation.n_shown_labels does nothing, because task.labels is empty",
        "data.train_on_definitions does nothing, because task.labels has no definitions",
    ]
    assert not any(finding.stops for finding in found.findings)


def test_a_vote_is_idle_where_answers_cannot_be_compared() -> None:
    idle = "generation.solved_share does nothing, because answers of the task 'exact_match' cannot be compared by code"
    assert check(GOOD, generation={"solved_share": 0.5}).warnings == [idle]
    assert not check(GOOD).warnings


def test_values_of_labels_without_labels_end_the_run() -> None:
    found = check(GOOD, task={"name": "exact_match", "label_values": {"0": "no", "1": "yes", "2": "no"}})
    (finding,) = found.findings
    assert (finding.stops, finding.kind) == (True, "settings")
    assert finding.text == (
        "task.label_values does nothing, because task.labels is empty. List the labels there: [no, yes]"
    )


def test_settings_that_the_task_does_not_read_are_told() -> None:
    idle = {"labels": ["yes", "no"], "answers": "label", "no_answer": "none", "decimal_mark": "comma", "database": "x"}
    warnings = check(GOOD, task={"name": "exact_match", "gold_is": "index", **idle}).warnings
    for name in idle:
        assert f"task.{name} does nothing, because the task 'exact_match' does not read it" in warnings
    assert "task.gold_is does nothing, because the task 'exact_match' does not read it" not in warnings
    assert check(GOOD, task={"name": "exact_match", "gold_is": "index"}).warnings == [
        "task.gold_is does nothing, because the task 'exact_match' does not read it"
    ]


OVERRIDDEN: dict[str, Any] = {
    "lora": {"epochs": 20, "n_steps": 10},
    "quality": {"enabled": False, "threshold": 8, "floor": 5},
}


def test_settings_that_another_one_overrides_are_told() -> None:
    assert check(GOOD, **OVERRIDDEN).warnings == [
        "lora.epochs does nothing, because lora.n_steps is set",
        "quality.threshold does nothing, because quality.enabled is false",
        "quality.floor does nothing, because quality.enabled is false",
    ]
    assert check(GOOD, **OVERRIDDEN, shared_folder="shared").warnings == [], "a grid's methods override on purpose"


@pytest.mark.parametrize(
    "settings",
    [
        {"lora": {"epochs": 20}},
        {"lora": {"n_steps": 10}},
        {"quality": {"threshold": 8, "floor": 5}},
        RunConfig().model_dump(include={"lora", "generation", "quality"}) | {"quality": {"enabled": False}},
    ],
)
def test_settings_that_count_or_have_their_defaults_are_not_told(settings: dict[str, Any]) -> None:
    assert check(GOOD, **settings).warnings == []


def test_settings_that_leave_nothing_to_write_stop_a_run() -> None:
    (told,) = [f for f in check(GOOD, generation={"share": 0.001}).findings if f.stops]
    assert told.kind == "settings" and told.text == (
        "generation.share of 0.001 asks for no synthetic row: it is a share of 4 training rows. Set it to 0.25 or more, or"
        " loop.max_iterations to 0"
    )
    assert check(GOOD, generation={"share": 0.25}).findings == []
    assert check(GOOD, generation={"share": 0.001}, loop={"max_iterations": 0}).findings == []


@pytest.mark.parametrize(
    ("fraction", "pattern_share", "told"),
    [
        (0.999, 0.5, "leaves 1 of 50 validation rows to be diagnosed"),
        (0.001, 0.5, "leaves 1 of 50 validation rows to select the best model"),
        (0.999, 0, None),
        (0.3, 0.5, None),
        (0.75, 0.5, None),
    ],
)
def test_a_part_of_validation_that_is_far_too_small_is_told(
    fraction: float, pattern_share: float, told: str | None
) -> None:
    warnings = check(GOOD, data={"selection_fraction": fraction}, generation={"pattern_share": pattern_share}).warnings
    assert [told in text and "data.selection_fraction" in text for text in warnings] == [True] * (told is not None)


@pytest.mark.parametrize(
    ("loop", "sources", "pattern_share", "warns"),
    [
        ({}, "training_errors", 0, True),
        ({"max_iterations": 2}, "training_rows", 0, True),
        ({"max_iterations": 1}, "training_errors", 0.5, False),
        ({"max_iterations": 0}, "training_errors", 0.5, False),
        ({}, "held_back", 0, False),
        ({}, "held_back", 0.5, True),
    ],
)
def test_without_test_rows_the_rows_that_choose_an_iteration_also_measure_its_gain(
    loop: dict[str, Any], sources: str, pattern_share: float, warns: bool
) -> None:
    rows = {**GOOD, "held_back": ask("spare", 5)} if sources == "held_back" else GOOD
    options: dict[str, Any] = {"loop": loop, "generation": {"sources": sources, "pattern_share": pattern_share}}
    without = {name: given for name, given in rows.items() if name != "test"}
    found = [text for text in check(without, **options).warnings if text.startswith("data.test is empty: ")]
    assert len(found) == warns
    assert not [text for text in check(rows, **options).warnings if "data.test" in text]


def test_a_learning_rate_that_is_far_too_large_is_told() -> None:
    assert check(GOOD, lora={"learning_rate": 0.1}).warnings == []
    (told,) = check(GOOD, lora={"learning_rate": 2}).warnings
    assert told == "lora.learning_rate is 2: above 0.1, adapters learn nothing. Usual values are 1e-5 to 1e-3"


def test_a_student_that_cannot_be_loaded_is_a_finding_beside_the_others() -> None:
    found = check({**GOOD, "train": GOOD["train"] + GOOD["train"][:1]}, tokens=Strange(9))
    assert found.findings == [
        warn("memory:train: 1 row repeats an earlier row (memory:train:5 = memory:train:1) and was dropped"),
        stop("student 'x' cannot be loaded", "settings"),
    ]
    assert found.warnings == [found.findings[0].text] and found.lengths is None


SPARE: dict[str, tuple[dict[str, Rows], dict[str, Any], int | None]] = {
    "a file of them": ({"held_back": ask("spare", 5)}, {}, 5),
    "some repeat others": ({"held_back": [*ask("spare", 5), GOOD["train"][0], GOOD["validation"][2]]}, {}, 5),
    "all repeat others": ({"held_back": GOOD["train"][:2]}, {}, 0),
    "left over by a limit": ({}, {"train_limit": 3}, 1),
    "nothing left over": ({}, {}, 0),
    "a file that is not there": ({}, {"held_back": "memory:nowhere"}, None),
}


@pytest.mark.parametrize("name", SPARE)
def test_real_rows_for_the_oracle(name: str) -> None:
    memory, data, n_spare = SPARE[name]
    found = check({**GOOD, **memory}, data=data, generation={"sources": "held_back"})
    texts = [finding.text for finding in found.findings if finding.stops]
    if n_spare is None:
        assert len(texts) == 1 and "nowhere" in texts[0]
        return
    assert len(found.files["held_back"].examples) == len(found.files["held_back"].wheres) == n_spare
    assert [text.startswith("generation.sources: held_back uses real rows") for text in texts] == [True] * (not n_spare)


def test_what_is_found_is_raised() -> None:
    config = parse_config({"data": {"train": "memory:train", "validation": "memory:validation"}}, origin="test")
    task = Unsafe(TaskConfig(name="exact_match"))
    adapters: Any = SimpleNamespace(datasets=MemoryDatasets(GOOD), task=task, tokens=None)
    with pytest.raises(SandboxError, match="nothing is confined here"):
        refuse(check_everything(config, {}, adapters).findings)
    adapters.task, adapters.tokens = ExactMatch(TaskConfig(name="exact_match")), Strange(9)
    with pytest.raises(ConfigError, match="cannot be loaded"):
        refuse(check_everything(config, {}, adapters).findings)
