"""Which pairs belong together, and on which side of the split they fall.

Nothing of one group stands on both sides: the pairs of a row or of a conversation; rows with a
question or an answer in common; and rows with one nearly so, by the pairs of letters in it.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence

from inference.alike import find_alike
from training.errors import TrainingInputError
from training.sources import Pair

# Share of the pairs of letters in common. At 0.8 the competition's 640 rows make 618 groups of at
# most two rows; at 0.7 chains of rows begin ("A의 장점이 뭐야?", "B의 장점이 뭐야?").
ALIKE = 0.8


def group(pairs: Sequence[Pair]) -> list[str]:
    """Return the group of each pair, named by the first of its units."""
    sets = _Sets()
    for text in ("question", "answer"):
        holders: dict[str, str] = {}  # a unit that has the text
        for pair in pairs:
            sets.join(pair.unit, holders.setdefault(getattr(pair, text), pair.unit))
        units = list(holders.values())
        for one, other in find_alike(list(holders), ALIKE):
            sets.join(units[one], units[other])
    names: dict[str, str] = {}
    return [names.setdefault(sets.find(pair.unit), pair.unit) for pair in pairs]


def choose_validation(
    pairs: Sequence[Pair], groups: Sequence[str], share: float, seed: int
) -> set[str]:
    """Return the groups that are held out: about `share` of the pairs of each category.

    Chosen by a hash of seed and name, so that what is added to the files moves few groups to the
    other side. Raises `TrainingInputError`.
    """
    sizes = Counter(groups)
    if len(sizes) < 2:
        msg = "질문 묶음이 둘은 있어야 학습과 검증으로 나눌 수 있어요."
        raise TrainingInputError(msg)
    order = sorted(sizes, key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).digest())
    categories: dict[str, str] = {}
    for pair, name in zip(pairs, groups, strict=True):
        categories.setdefault(name, pair.category)
    rest = share * len(pairs)
    wanted: dict[str, float] = defaultdict(float)
    for name, size in sizes.items():
        wanted[categories[name]] += share * size
    chosen: set[str] = set()
    for by_category in (True, False):  # then what small categories have left over
        for name in order[1:]:  # one is left to learn from
            category, half = categories[name], sizes[name] / 2
            if (
                name not in chosen
                and rest >= half
                and not (by_category and wanted[category] < half)
            ):
                chosen.add(name)
                wanted[category] -= sizes[name]
                rest -= sizes[name]
    return chosen or {order[-1]}


class _Sets:
    """Disjoint sets of names (union-find)."""

    def __init__(self) -> None:
        self._parents: dict[str, str] = {}

    def find(self, name: str) -> str:
        """Return the name that stands for the set of `name`."""
        while (parent := self._parents.setdefault(name, name)) != name:
            self._parents[name] = name = self._parents[parent]
        return name

    def join(self, one: str, other: str) -> None:
        """Make one set of two."""
        self._parents[self.find(one)] = self.find(other)
