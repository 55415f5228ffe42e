"""Sentence vectors from a sentence-transformers model."""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Any

from pada_agent.core.errors import ArtifactError, ConfigError

if TYPE_CHECKING:
    import numpy as np

OWN = "own:"
"""Begins the name of an embedder that the application brings."""
MAX_REMEMBERED = 20_000
"""Number of texts whose vectors are kept, most recently used ones: 3 KB each at 768 dimensions. Rows that a whole run
compares with are kept elsewhere.
"""


class SentenceEmbedder:
    """Implements `core.ports.Embedder`. The model (a folder or hub id) is loaded with the first call. Recent vectors are remembered."""

    def __init__(self, model: str, *, batch_size: int = 32, device: str | None = None) -> None:
        self._name = model
        self._batch_size = batch_size
        self._device = device
        self._model: Any = None
        self._known: OrderedDict[str, np.ndarray] = OrderedDict()
        self._lock = Lock()

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """Unit vectors, one per text, in order.

        Raises:
            ArtifactError: the model is missing or damaged, returns a vector that is not finite, or does not fit on the
                GPU.
        """
        if not texts:
            return []
        with self._lock:
            asked = dict.fromkeys(texts)
            if new := [text for text in asked if text not in self._known]:
                self._known.update(zip(new, self._encode(new), strict=True))
            for text in asked:
                self._known.move_to_end(text)
            found: list[list[float]] = [self._known[text].tolist() for text in texts]
            while len(self._known) > MAX_REMEMBERED:
                self._known.popitem(last=False)
            return found

    def _encode(self, texts: list[str]) -> "list[np.ndarray]":
        import numpy as np

        try:
            if self._model is None:
                self._model = _load(self._name, self._device)
            vectors = self._model.encode(
                texts, batch_size=self._batch_size, normalize_embeddings=True, show_progress_bar=False
            )
        except RuntimeError as exc:  # torch has several kinds of it for a full GPU
            if "out of memory" not in str(exc):
                raise
            words = str(exc).partition("\n")[0]
            raise ArtifactError(
                f"embedder {self._name}: {words} Close other programs that use the GPU, or hide it from this one with"
                " CUDA_VISIBLE_DEVICES= (the embedder then runs on the CPU, and so does the student)."
            ) from exc
        found = [np.asarray(vector) for vector in vectors]
        for text, vector in zip(texts, found, strict=True):
            if not np.isfinite(vector).all():
                raise ArtifactError(
                    f"embedder {self._name}: returned a vector with NaN or infinity for {text[:80]!r}. Its weights are damaged, or"
                    " it needs another precision: set models.embedder to another model."
                )
        return found


class AbsentEmbedder:
    """In place of an embedder that the application brings."""

    def __init__(self, name: str) -> None:
        self._name = name

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        raise ConfigError(
            f"models.embedder is '{self._name}': the application has to provide this embedder for {len(texts)} texts, but it"
            " did not. docs/embedding.md shows how."
        )


@contextmanager
def _without_bar() -> Iterator[None]:
    """Hide the model's progress bar, which would mix with the output of the run or the application."""
    from transformers.utils import logging

    was_on = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_on:
            logging.enable_progress_bar()


def _load(name: str, device: str | None) -> Any:
    from sentence_transformers import SentenceTransformer

    try:
        with _without_bar():
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
