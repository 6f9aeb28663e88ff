"""The nearest of many vectors: exact while that is fast enough, approximate above."""

import numpy as np
import numpy.typing as npt

from inference.embeddings import Vectors

EXACT_UP_TO = 100_000  # vectors; `make bench` shows where looking at each gets slow


class Nearest:
    """Finds the unit vectors nearest to another; immutable."""

    def __init__(self, vectors: Vectors) -> None:
        self._vectors = vectors

    def __len__(self) -> int:
        return len(self._vectors)

    def find(self, vector: Vectors, count: int) -> npt.NDArray[np.intp]:
        """Return the places of the nearest vectors, in no order."""
        if len(self) <= count:
            return np.arange(len(self))
        return np.argpartition(-(self._vectors @ vector), count)[:count]

    def rate(self, vector: Vectors, places: npt.NDArray[np.intp]) -> Vectors:
        """Return the cosines of the vectors at `places`."""
        cosines: Vectors = self._vectors[places] @ vector
        return cosines
