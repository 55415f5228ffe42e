from pathlib import Path

import pytest

from pada_agent.core.hub_names import PinnedName, are_alike, is_commit, is_hub_id, join_commit, split_commit

COMMIT = "12fd25f77366fa6b3b4b768ec3050bf629380bac"


@pytest.mark.parametrize(
    ("model", "name", "commit"),
    [
        (f"owner/small@{COMMIT}", "owner/small", COMMIT),
        ("owner/small@refs/pr/1", "owner/small", "refs/pr/1"),
        ("owner/small", "owner/small", None),
        ("smollm2-135m-instruct", "smollm2-135m-instruct", None),
        ("/models/me@home/small", "/models/me@home/small", None),
        ("../a@b/c", "../a@b/c", None),
    ],
)
def test_a_pinned_name_is_taken_apart_and_put_together_again(model: str, name: str, commit: str | None) -> None:
    assert split_commit(model) == PinnedName(name, commit)
    assert join_commit(name, commit) == model


def test_a_folder_of_that_name_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner" / "small@v1").mkdir(parents=True)
    (tmp_path / "owner" / "other").mkdir()
    assert split_commit("owner/small@v1") == PinnedName("owner/small@v1", None)
    assert not is_hub_id("owner/other") and join_commit("owner/other", "v1") == "owner/other"


def test_a_branch_is_no_commit() -> None:
    assert is_commit(COMMIT)
    assert not any(map(is_commit, ("main", COMMIT[:8], "", None)))


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("Qwen/Qwen2.5-0.5B-Instruct", "/models/qwen2.5-0.5b-instruct", True),
        ("Qwen/Qwen2.5-0.5B-Instruct", "unsloth/Qwen2.5-0.5B-Instruct@main", True),
        (
            "Qwen/Qwen2.5-0.5B",
            "/c/hub/models--Qwen--Qwen2.5-0.5B/snapshots/060db6499f32faf8b98477b0a26969ef7d8b9987",
            True,
        ),
        ("unsloth/qwen2.5-0.5b-instruct-unsloth-bnb-4bit", "Qwen/Qwen2.5-0.5B-Instruct", True),
        ("models/small.gguf", "/elsewhere/small.gguf-fp32/", True),
        ("Qwen/Qwen2.5-0.5B", "Qwen/Qwen2.5-0.5B-Instruct", False),
        ("owner/small", "/models/other", False),
    ],
)
def test_names_of_one_model_in_several_places_are_alike(one: str, other: str, alike: bool) -> None:
    assert are_alike(one, other) is alike
