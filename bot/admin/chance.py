"""Shares that were counted: how sure they are, and whether two differ by more than chance."""

from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

_NORMAL = NormalDist()
_Z = _NORMAL.inv_cdf(0.975)  # of a 95 % interval
_FEWEST = 5  # expected in each of the four cells, below which the test says nothing


@dataclass(frozen=True, slots=True)
class Share:
    """So many of so many."""

    count: int
    of: int

    @property
    def value(self) -> float:
        """The share itself, 0–1; `of` is not 0."""
        return self.count / self.of

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval; `of` is not 0.

        Wilson's: https://en.wikipedia.org/wiki/Binomial_proportion_confidence_interval
        """
        z2 = _Z * _Z / self.of
        middle = (self.value + z2 / 2) / (1 + z2)
        half = _Z * sqrt(self.value * (1 - self.value) / self.of + z2 / (4 * self.of)) / (1 + z2)
        return max(0.0, middle - half), min(1.0, middle + half)


def differ(one: Share, other: Share) -> float | None:
    """Return how often shares that are the same would differ at least so much, 0–1.

    The pooled two-proportion z test, two-sided; None where there are too few for it.
    """
    total = Share(one.count + other.count, one.of + other.of)
    rarer = min(total.count, total.of - total.count)
    if total.of == 0 or rarer * min(one.of, other.of) / total.of < _FEWEST:
        return None
    spread = sqrt(total.value * (1 - total.value) * (1 / one.of + 1 / other.of))
    return 2 * (1 - _NORMAL.cdf(abs(one.value - other.value) / spread))
