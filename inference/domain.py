"""Tells questions that are this shop's business from all others, by their vectors.

A ridge logistic regression between the knowledge's questions and a list of messages that are
none of its business; both kinds weigh the same, however many there are.
"""

from importlib.resources import files

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]

_RIDGE = 100.0  # of 0.3 to 100 the best on tests/data, both off-topic sets looked at
_STEPS = 30


def read_off_topic() -> list[str]:
    """Return messages that no wallpapering shop answers, written for this purpose."""
    text = files("inference.knowledge").joinpath("offtopic.txt").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line.strip()]


class Domain:
    """A direction in the space of the vectors along which the shop's business lies."""

    def __init__(self, inside: Vectors, outside: Vectors) -> None:
        self._weights, self._offset = _fit(inside, outside)

    def rate(self, vector: Vectors) -> float:
        """Return the log-odds that a question is the shop's business."""
        return float(vector @ self._weights + self._offset)


def _fit(inside: Vectors, outside: Vectors) -> tuple[npt.NDArray[np.float64], float]:
    """Return weights (dimensions,) and offset, by Newton's method."""
    vectors = np.concatenate([inside, outside]).astype(np.float64)
    mean, spread = vectors.mean(0), max(float(vectors.std(0).mean()), 1e-9)
    inputs = np.c_[(vectors - mean) / spread, np.ones(len(vectors))]
    is_inside = np.r_[np.ones(len(inside)), np.zeros(len(outside))]
    share = np.where(is_inside == 1, 0.5 / len(inside), 0.5 / len(outside)) * len(vectors)
    ridge = np.diag([*np.full(vectors.shape[1], _RIDGE), 1e-6])
    weights = np.zeros(inputs.shape[1])
    for _ in range(_STEPS):
        chance = 1 / (1 + np.exp(-np.clip(inputs @ weights, -50, 50)))
        slope = inputs.T @ (share * (is_inside - chance)) - ridge @ weights
        curvature = (inputs * (share * chance * (1 - chance))[:, None]).T @ inputs + ridge
        step = np.linalg.solve(curvature, slope)
        weights += step
        if np.abs(step).max() < 1e-6:
            break
    scaled = weights[:-1] / spread
    return scaled, float(weights[-1] - mean @ scaled)
