"""What comes with us of the embedder in the wheel, so that a first start need not compute it.

`python -m inference.knowledge.vectors` writes them anew after the knowledge was changed.
"""

import hashlib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import numpy as np
import numpy.typing as npt

_FILE = "vectors.npz"
_MOST = 127  # of a signed byte


def digest(text: str) -> bytes:
    """Return the key of a text's vector."""
    return hashlib.sha256(text.encode()).digest()[:16]


def read(embedder: str) -> dict[bytes, npt.NDArray[np.float16]]:
    """Return the shipped vectors by their texts' digests; none where another embedder made them."""
    with resources.files("inference.knowledge").joinpath(_FILE).open("rb") as file:
        kept = np.load(file)
        if kept["embedder"] != embedder:
            return {}
        rows = (kept["vectors"] * kept["steps"][:, None]).astype(np.float16)
        return {key.tobytes(): row for key, row in zip(kept["digests"], rows, strict=True)}


def read_kinds(embedder: str) -> tuple[list[str], npt.NDArray[np.float64]] | None:
    """Return the names and weights of `inference.kinds`, None where another embedder made them."""
    with resources.files("inference.knowledge").joinpath(_FILE).open("rb") as file:
        kept = np.load(file)
        if kept["embedder"] != embedder:
            return None
        return [str(name) for name in kept["kinds"]], kept["kind_weights"]


def texts() -> list[str]:
    """Return all texts of ours that are embedded."""
    from inference.domain import read_off_topic, read_on_topic
    from inference.kinds import read_examples
    from inference.knowledge import starter_path
    from inference.knowledge.files import load
    from inference.text import normalize

    asked = [question for entry in load(starter_path()) for question in entry.questions]
    others = [*read_on_topic(), *read_off_topic(), *(message for message, _ in read_examples())]
    return list(dict.fromkeys(normalize(text) for text in [*asked, *others]))


class _Rounded:
    """The vectors as they are shipped, so that what is learnt from them is the same anywhere."""

    name = "rounded"

    def __init__(self, known: list[str], rows: npt.NDArray[np.float32]) -> None:
        self._rows = dict(zip(known, rows, strict=True))

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return the rows of texts that are known."""
        return np.array([self._rows[text] for text in texts])


def main() -> None:
    """Write the vectors of all texts, and the kinds that are learnt from them.

    What is there already of the same embedder is not computed anew.
    """
    from inference.embeddings import E5Embedder, VectorCache
    from inference.kinds import Kinds

    embedder, cache, ours = E5Embedder(), VectorCache(None), texts()
    vectors = cache.embed(embedder, ours)
    steps = np.abs(vectors).max(1).astype(np.float32) / _MOST
    rounded = np.rint(vectors / steps[:, None]).astype(np.int8)  # half the size, the same hits
    kinds = Kinds.fit(_Rounded(ours, rounded * steps[:, None]), VectorCache(None))
    np.savez_compressed(
        Path(str(resources.files("inference.knowledge").joinpath(_FILE))),
        embedder=embedder.name,
        digests=np.array([list(digest(text)) for text in ours], np.uint8),
        vectors=rounded,
        steps=steps,
        kinds=kinds.names,
        kind_weights=kinds.weights,
    )


if __name__ == "__main__":
    main()
