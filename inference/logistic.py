"""Ridge logistic regression, by Newton's method: two small fits do not ask for a library."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]

_STEPS = 50
_FREE = 1e-6  # what holds the offset: next to nothing, so that the curvature is never singular


def fit(
    features: Floats,
    is_true: npt.NDArray[np.bool_],
    *,
    spread: Floats | float,
    ridge: float,
    shares: Floats | float = 1.0,
) -> tuple[Floats, float]:
    """Return the weights (k,) and the offset of the log-odds that a row of (n, k) is true.

    The ridge holds the weights of features divided by `spread`; `shares` weigh the rows.
    """
    mean = features.mean(0)
    inputs = np.c_[(features - mean) / spread, np.ones(len(features))]
    penalty = np.diag([*np.full(features.shape[1], ridge), _FREE])
    weights = np.zeros(inputs.shape[1])
    for _ in range(_STEPS):
        chance = 1 / (1 + np.exp(-np.clip(inputs @ weights, -50, 50)))
        slope = inputs.T @ (shares * (is_true - chance)) - penalty @ weights
        curvature = (inputs * (shares * chance * (1 - chance))[:, None]).T @ inputs + penalty
        step = np.linalg.solve(curvature, slope)
        weights += step
        if np.abs(step).max() < 1e-6:
            break
    scaled = weights[:-1] / spread
    return scaled, float(weights[-1] - mean @ scaled)
