"""Methods name every setting in which a default or a grid may depart from what was published."""

from pathlib import Path

import pytest

from pada_agent.app.adapters.storage.datasets import FileDatasets
from pada_agent.app.experiment.grid import load_grid, plan_cells
from pada_agent.app.experiment.methods import METHODS, apply_settings
from pada_agent.core.config import RunConfig

BUDGET_AND_WORDING = {
    "generation.share",
    "generation.pattern_share",
    "generation.max_asked_per_row",
    "generation.min_fill",
    "generation.rows_per_call",
    "generation.temperature",
    "generation.show_answer",
    "generation.near_duplicate_rouge",
    "analysis.max_errors",
    "analysis.errors_per_call",
    "analysis.min_clusters",
    "analysis.max_clusters",
    "quality.rows_per_call",
    "quality.probe_share",
}
"""The user's own choice, and the same in all arms: how much is written, read and asked in a call, what each call shows of a row, and how the judge
is measured."""
OF_OTHER_RECIPES = {"generation.n_contrasts"}
OF_FOLDS = {"generation.error_folds"}
OF_SOLVING = {"verification.share", "verification.temperature", "verification.rows_per_call"}
OF_VARIATIONS = {"generation.reword", "generation.solver_votes", "generation.solver_examples"}
OF_PATTERNS = {
    "generation.allocation",
    "generation.n_demonstrations",
    "generation.pattern_sources",
    "generation.strategy_text",
    "analysis.analysis_weight",
    "analysis.question_weight",
    "analysis.outcome_weight",
}
OF_RATING = {"quality.threshold", "quality.floor", "quality.accept"}
MATCHED = {
    "generation.error_source",
    "generation.max_rows_per_error",
    "generation.max_top_ups",
    "generation.match_form",
    "generation.accumulate",
    "quality.max_regenerations",
}
"""Part of the matched budget of the published baselines (docs/arms.md): the same as in PaDA-Agent, as far as a method does not name it."""
BASELINES = ("auggpt", "le", "lec", "llm2llm")
GROUPS = ("generation", "analysis", "quality", "verification")


def list_settings() -> set[str]:
    return {f"{group}.{name}" for group in GROUPS for name in type(getattr(RunConfig(), group)).model_fields}


def test_the_published_method_names_every_setting_that_is_not_the_users_own_choice() -> None:
    named = {key for key in METHODS["pada_paper"].settings if key.split(".")[0] in GROUPS}
    without_effect = OF_OTHER_RECIPES | OF_FOLDS | OF_SOLVING | OF_VARIATIONS
    assert named | BUDGET_AND_WORDING | without_effect == list_settings()
    assert not named & (BUDGET_AND_WORDING | without_effect)


@pytest.mark.parametrize("name", [*BASELINES, *(f"{name}_native" for name in BASELINES)])
def test_baselines_name_every_setting_that_is_neither_matched_nor_the_users_own_choice(name: str) -> None:
    without_effect = OF_OTHER_RECIPES | OF_FOLDS | OF_SOLVING | OF_VARIATIONS | OF_PATTERNS | OF_RATING
    assert (
        list_settings() == set(METHODS[name].settings) & list_settings() | BUDGET_AND_WORDING | MATCHED | without_effect
    )


def test_a_grid_cannot_change_what_was_published(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("data: {train: t, validation: v, test: w}\nlora: {n_steps: 3}\n")
    grid = tmp_path / "grid.yaml"
    grid.write_text(
        f"name: g\ntasks: {{toy: {{config: {tmp_path / 'run.yaml'}}}}}\narms: [pada_paper, le, pada]\nseeds: [0]\n"
        "set: {generation.allocation: by_repair, generation.template: contrast_generation, generation.accumulate: false}\n"
    )
    paper, le, pada = (cell.config.generation for cell in plan_cells(load_grid(grid), FileDatasets()))
    assert (pada.allocation, pada.template, pada.accumulate) == ("by_repair", "contrast_generation", False)
    assert (paper.allocation, paper.template, paper.accumulate) == ("even", "training_error_generation", True)
    assert le.template == "training_error_generation"


def test_without_the_quota_neither_further_calls_nor_spare_rows_replace_a_refused_row() -> None:
    spare = apply_settings(RunConfig(), {"generation.spare_rows": 2}, origin="test")
    generation = apply_settings(spare, METHODS["pada_no_quota"].settings, origin="test").generation
    assert (generation.max_top_ups, generation.spare_rows) == (0, 0)
