"""The nearest of many vectors: exact while that is fast enough, approximate above."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from inference.embeddings import Vectors

EXACT_UP_TO = 50_000  # vectors; above, looking at each is what a search would mostly do

# An inverted file over 8-bit vectors (https://github.com/facebookresearch/faiss/wiki): lists by the
# square root of the vectors, of which a fixed number is looked into.
_LISTS_PER_ROOT = 4
_LISTS_LOOKED_INTO = 48
_TRAINED_ON = 64  # vectors for each list


class Nearest:
    """Finds the unit vectors nearest to another; immutable."""

    def __init__(self, vectors: Vectors) -> None:
        is_small = len(vectors) <= EXACT_UP_TO
        self._index = None if is_small else _build_index(vectors)
        self._vectors = vectors if is_small else vectors.astype(np.float16)

    def __len__(self) -> int:
        return len(self._vectors)

    def find(self, vector: Vectors, count: int) -> npt.NDArray[np.intp]:
        """Return the places of the nearest vectors, in no order."""
        if len(self) <= count:
            return np.arange(len(self))
        if self._index is None:
            return np.argpartition(-(self._vectors @ vector), count)[:count]
        _, places = self._index.search(vector[None].astype(np.float32), count)
        found: npt.NDArray[np.intp] = places[0][places[0] >= 0]
        return found

    def rate(self, vector: Vectors, places: npt.NDArray[np.intp]) -> Vectors:
        """Return the cosines of the vectors at `places`."""
        cosines: Vectors = self._vectors[places].astype(np.float32, copy=False) @ vector
        return cosines


def _build_index(vectors: Vectors) -> Any:  # noqa: ANN401 - faiss has no types
    import faiss

    count, dimensions = vectors.shape
    lists = _LISTS_PER_ROOT * math.isqrt(count)
    index = faiss.IndexIVFScalarQuantizer(
        faiss.IndexFlatIP(dimensions),
        dimensions,
        lists,
        faiss.ScalarQuantizer.QT_8bit,
        faiss.METRIC_INNER_PRODUCT,
    )
    step = max(1, count // (lists * _TRAINED_ON))
    index.train(np.ascontiguousarray(vectors[::step]))
    index.add(np.ascontiguousarray(vectors))
    index.nprobe = _LISTS_LOOKED_INTO
    return index
