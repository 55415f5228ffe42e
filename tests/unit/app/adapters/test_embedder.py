import sys
from types import SimpleNamespace
from typing import Any

import pytest

from pada_agent.app.adapters.embedder import SentenceEmbedder
from pada_agent.core.errors import ArtifactError


class FakeModel:
    loaded = 0

    def __init__(self, name: str, device: str | None, *, trust_remote_code: bool) -> None:
        assert device is None and not trust_remote_code
        if name == "missing":
            raise OSError("no such folder")
        FakeModel.loaded += 1

    def encode(self, texts: list[str], **options: Any) -> list[list[float]]:
        assert options["normalize_embeddings"] is True
        assert options["batch_size"] == 2
        return [[float(len(text)), 1.0] for text in texts]


@pytest.fixture(autouse=True)
def library(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeModel.loaded = 0
    monkeypatch.setitem(sys.modules, "sentence_transformers", SimpleNamespace(SentenceTransformer=FakeModel))


def test_the_model_is_loaded_once_and_only_when_needed() -> None:
    embedder = SentenceEmbedder("folder", batch_size=2)
    assert embedder.embed([]) == []
    assert FakeModel.loaded == 0
    assert embedder.embed(["a", "bb", "ccc"]) == [[1.0, 1.0], [2.0, 1.0], [3.0, 1.0]]
    embedder.embed(["d"])
    assert FakeModel.loaded == 1


def test_no_bar_of_the_library_is_drawn_while_the_model_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers.utils import logging

    seen: list[bool] = []
    make = FakeModel.__init__

    def spy(self: FakeModel, *arguments: Any, **options: Any) -> None:
        seen.append(logging.is_progress_bar_enabled())
        make(self, *arguments, **options)

    monkeypatch.setattr(FakeModel, "__init__", spy)
    logging.enable_progress_bar()
    SentenceEmbedder("folder", batch_size=2).embed(["a"])
    assert seen == [False] and logging.is_progress_bar_enabled()


def test_a_missing_model_says_how_to_get_one() -> None:
    with pytest.raises(ArtifactError, match=r"embedder missing.*pada models pull all-mpnet-base-v2"):
        SentenceEmbedder("missing").embed(["a"])


def test_a_text_is_embedded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    encode = FakeModel.encode
    monkeypatch.setattr(
        FakeModel, "encode", lambda self, texts, **o: [asked.extend(texts), encode(self, texts, **o)][1]
    )
    embedder = SentenceEmbedder("folder", batch_size=2)
    embedder.embed(["a", "bb", "a"])
    assert embedder.embed(["bb", "ccc"]) == [[2.0, 1.0], [3.0, 1.0]]
    assert asked == ["a", "bb", "ccc"]


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pada_agent.app.adapters.embedder.MAX_REMEMBERED", 3)
    embedder = SentenceEmbedder("folder", batch_size=2)
    for texts in (["a", "bb"], ["bb", "ccc", "dddd"], ["a", "bb", "ccc", "dddd", "eeeee"]):
        assert [v[0] for v in embedder.embed(texts)] == [float(len(t)) for t in texts]


def test_what_was_asked_for_longest_ago_is_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pada_agent.app.adapters.embedder.MAX_REMEMBERED", 2)
    asked: list[str] = []
    encode = FakeModel.encode
    monkeypatch.setattr(
        FakeModel, "encode", lambda self, texts, **o: [asked.extend(texts), encode(self, texts, **o)][1]
    )
    embedder = SentenceEmbedder("folder", batch_size=2)
    for text in ("a", "bb", "a", "ccc", "a", "bb"):
        embedder.embed([text])
    assert asked == ["a", "bb", "ccc", "bb"]


@pytest.mark.parametrize("words", ["CUDA error: out of memory\nSearch for …", "CUDA out of memory. Tried to allocate"])
def test_a_full_gpu_is_said_with_the_way_out(monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError(words)

    monkeypatch.setattr(FakeModel, "encode", fail)
    with pytest.raises(ArtifactError, match=r"embedder folder: CUDA .*out of memory.*CUDA_VISIBLE_DEVICES="):
        SentenceEmbedder("folder", batch_size=2).embed(["a"])


def test_another_error_of_the_library_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(FakeModel, "encode", fail)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        SentenceEmbedder("folder", batch_size=2).embed(["a"])
