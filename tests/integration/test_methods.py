"""Every method of the comparison as a configuration of the real graph, over the toy world."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pada_agent.app.experiment.methods import METHODS, apply_settings, find_method
from pada_agent.core.config import RunConfig
from pada_agent.core.errors import ConfigError
from pada_agent.core.jobs import FineTuneJob, Job
from pada_agent.core.records import Example
from pada_agent.graph.builder import build_graph
from pada_agent.graph.summary import RunSummary
from tests.fakes import ScriptedModel
from tests.toy_world import TEST, TRAIN, VALIDATION, NearestRowCompute, ToyWorld, make_rows, make_settings, texts_of

HELD_BACK = make_rows(
    "held",
    [
        (f"{text} number {n} of the lot", "fruit")
        for n in range(4)
        for text in ("figs", "sloes", "limes", "dates", "plums")
    ],
)
AUGMENTED = [name for name, method in METHODS.items() if method.measured == "augmented"]


class AnimalCompute(NearestRowCompute):
    """A fine-tuned student that always answers "animal"."""

    def _run(self, job: Job, folder: Path) -> None:
        super()._run(job, folder)
        if isinstance(job, FineTuneJob):
            (folder / "memory.json").write_text(json.dumps([["", "animal"]]))


def settings_of(name: str, **changes: Any) -> RunConfig:
    base = make_settings(loop={"max_iterations": 1, "patience": 1}, data={"held_back": "memory:held_back"}, **changes)
    return apply_settings(base, find_method(name).settings, origin=name)


def run(name: str, folder: Path, **changes: Any) -> tuple[RunSummary, ToyWorld]:
    memory = {"train": TRAIN, "validation": VALIDATION, "test": TEST, "held_back": HELD_BACK}
    world = ToyWorld(folder, memory=memory)
    summary = build_graph(world.connect).compile().invoke({}, context=settings_of(name, **changes))["summary"]
    return summary, world


def asked(world: ToyWorld) -> Counter[str]:
    assert isinstance(world.teacher, ScriptedModel)
    return Counter(str(request.tags["prompt"]) for request in world.teacher.requests)


def new_rows(summary: RunSummary, world: ToyWorld) -> list[Example]:
    return [row for b in world.read_reports(summary) for row in world.store.read_rows(b.accepted.key, Example)]


@pytest.mark.parametrize("name", AUGMENTED)
def test_every_method_adds_rows_that_say_where_they_come_from(name: str, tmp_path: Path) -> None:
    summary, world = run(name, tmp_path)
    rows = new_rows(summary, world)
    assert rows and all(row.provenance for row in rows)
    assert summary.rows.written == summary.rows.accepted + sum(summary.rows.rejected.values())
    first = next(arm for arm in summary.models if arm.iteration == 1)
    n_first = sum(b.n_accepted for b in world.read_reports(summary) if b.batch_id.startswith("i1-"))
    assert (first.n_synthetic, first.n_train_rows) == (n_first, 9 + n_first)


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.measured != "augmented"])
def test_methods_without_augmentation_ask_no_llm(name: str, tmp_path: Path) -> None:
    summary, world = run(name, tmp_path)
    assert [arm.name for arm in summary.models] == ["untouched", "fine-tuned"]
    assert not asked(world)


@pytest.mark.parametrize(
    ("name", "templates"),
    [
        ("auggpt", {"rephrasing"}),
        ("le", {"training_error_generation"}),
        ("lec", {"contrast_generation"}),
        ("llm2llm", {"similar_item_generation"}),
        ("oracle", set()),
        ("pada_no_patterns", {"training_error_generation", "answer_solving", "quality_control"}),
        (
            "pada_no_errors",
            {
                "error_analysis",
                "pattern_categorization",
                "strategy_drafting",
                "pattern_guided_generation",
                "answer_solving",
                "quality_control",
            },
        ),
        (
            "pada_no_quality",
            {
                "error_analysis",
                "pattern_categorization",
                "strategy_drafting",
                "pattern_guided_generation",
                "training_error_generation",
            },
        ),
    ],
)
def test_a_method_pays_for_its_own_prompts_only(name: str, templates: set[str], tmp_path: Path) -> None:
    _, world = run(name, tmp_path)
    assert set(asked(world)) == templates


def test_rephrasing_is_blind_to_errors_and_keeps_the_answer(tmp_path: Path) -> None:
    summary, world = run("auggpt", tmp_path)
    rows, answers = new_rows(summary, world), {row["id"]: row["answer"] for row in TRAIN}
    assert {row.provenance.source_id for row in rows if row.provenance} == set(answers)
    assert all(row.provenance and row.answer == answers[row.provenance.source_id] for row in rows)
    assert not [job for job in world.compute.ran if "train" in job.rows_hash and not isinstance(job, FineTuneJob)]


@pytest.mark.parametrize("error_source", ["train", "auto"])
def test_contrast_shows_other_rows_that_the_student_answers_rightly(error_source: str, tmp_path: Path) -> None:
    summary, world = run("lec", tmp_path, generation={"error_source": error_source})
    assert isinstance(world.teacher, ScriptedModel)
    shown = [text for r in world.teacher.requests for _, text in texts_of(r.messages[-1].content, "row")]
    old = set()
    for text in shown:
        (question,), contrasts = (
            re.findall(rf"^{kind} question: (.*)$", text, re.MULTILINE) for kind in ("old", "like")
        )
        assert len(contrasts) == 3 and not {question, "has our hen stopped laying"} & set(contrasts)
        old.add(question)
    assert len(old) == (1 if error_source == "train" else 9), "every row is a source if wrong answers are too few"
    assert not [text for text in summary.warnings if "contrast" in text]


def test_without_a_row_to_contrast_a_warning_says_so_and_the_prompt_speaks_of_none(tmp_path: Path) -> None:
    others = [row for row in TRAIN if row["answer"] != "animal"]
    world = ToyWorld(tmp_path, memory={"train": others, "validation": VALIDATION, "test": TEST})
    world.compute = AnimalCompute(tmp_path / "objects")
    config = apply_settings(make_settings(loop={"max_iterations": 1}), find_method("lec").settings, origin="lec")
    summary = build_graph(world.connect).compile().invoke({}, context=config)["summary"]
    told = "iteration 1: the student answers no other training row correctly, so contrast_generation shows none next to the errors"
    assert summary.warnings.count(told) == 1
    assert isinstance(world.teacher, ScriptedModel) and world.teacher.prompts
    assert not [prompt for prompt in world.teacher.prompts if "like question" in prompt]


@pytest.mark.parametrize("name", ["le_native", "lec_native", "llm2llm_native"])
def test_native_baselines_write_from_wrong_answers_alone(name: str, tmp_path: Path) -> None:
    summary, world = run(name, tmp_path)
    assert {row.provenance.source_id for row in new_rows(summary, world) if row.provenance} == {TRAIN[-1]["id"]}


def test_one_row_is_written_for_each_wrong_row_and_no_more(tmp_path: Path) -> None:
    wrong_rows = {"error_source": "train", "max_rows_per_error": None}
    summary, _ = run("llm2llm", tmp_path, generation=wrong_rows)
    many, _ = run("le", tmp_path / "le", generation=wrong_rows)
    assert summary.rows.asked == 1
    assert many.rows.asked == 9


def test_the_oracle_takes_real_rows_as_they_are_and_says_so(tmp_path: Path) -> None:
    summary, world = run("oracle", tmp_path)
    rows = new_rows(summary, world)
    again, _ = run("oracle", tmp_path / "again")
    other, other_world = run("oracle", tmp_path / "other", seed=1)
    drawn = {row.id for row in rows}
    assert len(drawn) == 9 and drawn < {row["id"] for row in HELD_BACK}
    assert again.rows == summary.rows and {row.id for row in new_rows(other, other_world)} != drawn
    assert {(row.provenance.branch, row.provenance.source_id) for row in rows if row.provenance} == {
        ("held_back", row.id) for row in rows
    }
    assert summary.rows.accepted == 9 and summary.rows.rejected == {}


def test_the_oracle_takes_other_rows_in_every_round_and_says_when_they_run_out(tmp_path: Path) -> None:
    memory = {"train": TRAIN, "validation": VALIDATION, "test": TEST, "held_back": HELD_BACK[:5]}
    world = ToyWorld(tmp_path, memory=memory)
    summary = build_graph(world.connect).compile().invoke({}, context=settings_of("oracle"))["summary"]
    assert summary.rows.accepted == 5
    assert "iteration 1: only 5 of 9 real rows were left to take" in summary.warnings


def test_the_oracle_takes_other_rows_after_a_round_that_did_not_help(tmp_path: Path) -> None:
    loop, generation = {"max_iterations": 3, "patience": 3}, {"share": 0.34}
    memory = {"train": TRAIN, "validation": VALIDATION, "test": TEST, "held_back": HELD_BACK}
    world = ToyWorld(tmp_path, memory=memory)
    world.compute = AnimalCompute(tmp_path / "objects")
    settings = apply_settings(settings_of("oracle"), {"loop": loop, "generation": generation}, origin="test")
    summary = build_graph(world.connect).compile().invoke({}, context=settings)["summary"]
    assert summary.best_model == "fine-tuned", "no round helped"
    taken = [row.id for row in new_rows(summary, world)]
    assert len(taken) == len(set(taken)) == 9


def test_patterns_write_what_real_rows_beside_them_are_too_few_for(tmp_path: Path) -> None:
    memory = {"train": TRAIN, "validation": VALIDATION, "test": TEST, "held_back": HELD_BACK[:2]}
    world = ToyWorld(tmp_path, memory=memory)
    settings = make_settings(
        loop={"max_iterations": 1, "patience": 1},
        data={"held_back": "memory:held_back"},
        generation={"sources": "held_back"},
    )
    summary = build_graph(world.connect).compile().invoke({}, context=settings)["summary"]
    branches = Counter(row.provenance.branch for row in new_rows(summary, world) if row.provenance)
    assert branches == {"held_back": 2, "pattern": 7} and summary.rows.accepted == 9
    assert "more real data" not in summary.verdict


def test_rows_that_a_limit_leaves_over_are_to_spare(tmp_path: Path) -> None:
    settings = {"train_limit": 6, "train_shuffle": 0, "held_back": ""}
    base = make_settings(
        loop={"max_iterations": 1}, data=settings, generation={"share": 0.5, "near_duplicate_rouge": 1}
    )
    world = ToyWorld(tmp_path)
    config = apply_settings(base, find_method("oracle").settings, origin="oracle")
    summary = build_graph(world.connect).compile().invoke({}, context=config)["summary"]
    taken = {row.id for row in new_rows(summary, world)}
    first = next(job for job in world.compute.ran if isinstance(job, FineTuneJob))
    trained = {Example.model_validate_json(line).id for line in Path(first.rows).read_text().splitlines()}
    assert len(trained) == 6 and taken and not taken & trained


def test_smaller_training_sets_are_part_of_larger_ones(tmp_path: Path) -> None:
    sets = []
    for limit in (3, 6):
        world = ToyWorld(tmp_path / str(limit))
        config = make_settings(loop={"max_iterations": 0}, data={"train_limit": limit, "train_shuffle": 0})
        build_graph(world.connect).compile().invoke({}, context=config)
        job = next(job for job in world.compute.ran if isinstance(job, FineTuneJob))
        sets.append([Example.model_validate_json(line).id for line in Path(job.rows).read_text().splitlines()])
    assert sets[1][:3] == sets[0] != [row["id"] for row in TRAIN[:3]]


def test_without_rows_to_spare_the_oracle_says_what_to_set(tmp_path: Path) -> None:
    config = apply_settings(make_settings(), find_method("oracle").settings, origin="oracle")
    with pytest.raises(ConfigError, match=r"data\.held_back"):
        build_graph(ToyWorld(tmp_path).connect).compile().invoke({}, context=config)


def test_an_unknown_method_lists_those_there_are() -> None:
    with pytest.raises(ConfigError, match="untouched, vanilla"):
        find_method("magic")
