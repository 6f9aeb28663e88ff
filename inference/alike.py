"""Texts that say nearly the same, by the pairs of neighbouring letters that they have in common."""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence

_NOT_LETTER = re.compile(r"[^0-9a-z가-힣]+")


def find_alike(texts: Sequence[str], share: float) -> Iterator[tuple[int, int]]:
    """Yield the places of two texts, the lower first, that have `share` of their pairs in common.

    The share is of all pairs of both (Jaccard); texts without a letter are like no other.
    """
    pairs = [_pairs(text) for text in texts]
    holders: dict[str, list[int]] = defaultdict(list)
    for number, letters in enumerate(pairs):
        for pair in letters:
            holders[pair].append(number)
    for number, letters in enumerate(pairs):
        # Whoever shares so much shares one of the rarest pairs, by the pigeonhole principle.
        rare = sorted(letters, key=lambda pair: (len(holders[pair]), pair))
        enough = len(letters) - int(share * len(letters)) + 1
        near = {n for pair in rare[:enough] for n in holders[pair] if n > number}
        for other in sorted(near):
            if _likeness(letters, pairs[other]) >= share:
                yield number, other


def _pairs(text: str) -> frozenset[str]:
    letters = _NOT_LETTER.sub("", text.lower())
    pairs = frozenset(letters[i : i + 2] for i in range(len(letters) - 1))
    return pairs or frozenset([letters] * bool(letters))


def _likeness(one: frozenset[str], other: frozenset[str]) -> float:
    common = len(one & other)
    return common / max(1, len(one) + len(other) - common)
