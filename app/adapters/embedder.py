"""Sentence vectors from a sentence-transformers model."""

from collections.abc import Sequence
from math import isfinite
from threading import Lock
from typing import Any

from pada_agent.core.errors import ArtifactError

MAX_REMEMBERED = 20_000
"""Texts whose vectors are kept: held-out rows are compared with every batch. 6 KB each at 768 dimensions."""


class SentenceEmbedder:
    """Implements `core.ports.Embedder`. The model (a folder or hub id) is loaded at the first call, and each text embedded once."""

    def __init__(self, model: str, *, batch_size: int = 32, device: str | None = None) -> None:
        self._name = model
        self._batch_size = batch_size
        self._device = device
        self._model: Any = None
        self._known: dict[str, list[float]] = {}
        self._lock = Lock()

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """Unit vectors, one per text, in order.

        Raises:
            ArtifactError: the model is missing or damaged, or gives a vector that is not finite.
        """
        if not texts:
            return []
        with self._lock:
            if new := [text for text in dict.fromkeys(texts) if text not in self._known]:
                if len(self._known) + len(new) > MAX_REMEMBERED:
                    self._known = {}
                    new = list(dict.fromkeys(texts))
                self._known.update(zip(new, self._encode(new), strict=True))
            return [self._known[text] for text in texts]

    def _encode(self, texts: list[str]) -> list[list[float]]:
        if self._model is None:
            self._model = _load(self._name, self._device)
        vectors = self._model.encode(
            texts, batch_size=self._batch_size, normalize_embeddings=True, show_progress_bar=False
        )
        found = [[float(x) for x in vector] for vector in vectors]
        for text, vector in zip(texts, found, strict=True):
            if not all(map(isfinite, vector)):
                raise ArtifactError(
                    f"embedder {self._name}: returned a vector with NaN or infinity for {text[:80]!r}. Its weights are damaged, or"
                    " it needs another precision: set models.embedder to another model."
                )
        return found


def _load(name: str, device: str | None) -> Any:
    from sentence_transformers import SentenceTransformer

    try:
        return SentenceTransformer(name, device=device, trust_remote_code=False)
    except (OSError, ValueError, ImportError) as exc:
        if "trust_remote_code" in str(exc):  # which the library advises, and nobody can set here
            raise ArtifactError(
                f"embedder {name}: it needs code of its own, which is never run here. Set models.embedder"
                " to a model made only of sentence-transformers' own modules, such as all-mpnet-base-v2."
            ) from exc
        raise ArtifactError(
            f"embedder {name}: cannot be loaded ({exc}). Fetch the default with"
            " `pada models pull all-mpnet-base-v2`, or set models.embedder to a folder or a hub id."
        ) from exc
