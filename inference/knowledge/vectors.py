"""What comes with us of the embedder in the wheel, so that a first start need not compute it.

`python -m inference.knowledge.vectors` writes them anew after the knowledge was changed.
"""

import hashlib
from importlib import resources
from pathlib import Path

import numpy as np
import numpy.typing as npt

_FILE = "vectors.npz"


def digest(text: str) -> bytes:
    """Return the key of a text's vector."""
    return hashlib.sha256(text.encode()).digest()[:16]


def read(embedder: str) -> dict[bytes, npt.NDArray[np.float16]]:
    """Return the shipped vectors by their texts' digests; none where another embedder made them."""
    with resources.files("inference.knowledge").joinpath(_FILE).open("rb") as file:
        kept = np.load(file)
        if kept["embedder"] != embedder:
            return {}
        pairs = zip(kept["digests"], kept["vectors"], strict=True)
        return {key.tobytes(): row for key, row in pairs}


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


def main() -> None:
    """Write the vectors of all texts, and the kinds that are learnt from them.

    What is there already of the same embedder is not computed anew.
    """
    from inference.embeddings import E5Embedder, VectorCache
    from inference.kinds import Kinds

    embedder, cache, ours = E5Embedder(), VectorCache(None), texts()
    vectors = cache.embed(embedder, ours)
    kinds = Kinds.fit(embedder, cache)
    np.savez_compressed(
        Path(str(resources.files("inference.knowledge").joinpath(_FILE))),
        embedder=embedder.name,
        digests=np.array([list(digest(text)) for text in ours], np.uint8),
        vectors=vectors.astype(np.float16),
        kinds=kinds.names,
        kind_weights=kinds.weights,
    )


if __name__ == "__main__":
    main()
