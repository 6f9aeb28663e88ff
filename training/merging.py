"""Two questions asked in one breath, as half of the competition's test asks them.

A question of one pair and one of another, of the same category and tone where there are such, are
joined, and their answers in the same order.
"""

import random
import re
from collections.abc import Sequence

from inference.knowledge import OTHER
from inference.knowledge.checking import LONGEST_ANSWER
from inference.prompts import MAX_QUESTION_CHARS
from training.examples import Example

_POLITE = re.compile(r"(?:요|까|다|죠|시오)[\s?.!]*$")
_ENDED = re.compile(r"[?.!]$")
_BETWEEN = ("또한", "그리고")
_MISSES = 1000  # in a row, after which there are no more to be made


def merge(examples: Sequence[Example], count: int, seed: int) -> list[Example]:
    """Return at most `count` examples of two questions each, no two alike; seeded.

    Only examples of one turn are joined, and only where the answers together are not too long.
    """
    single = [each for each in examples if len(each.messages) == 2]
    pools: dict[tuple[str, bool], list[Example]] = {}
    for each in single:
        pools.setdefault(_kind(each), []).append(each)
    chance = random.Random(seed)  # noqa: S311 - chance is wanted, not secrecy
    merged: dict[tuple[str, str], Example] = {}
    misses = 0 if single else _MISSES
    while len(merged) < count and misses < _MISSES:
        misses += 1
        first = chance.choice(single)
        pool = pools[_kind(first)]
        is_alone = all(each.group == first.group for each in pool)
        second = chance.choice(single if is_alone else pool)
        if second.group == first.group:
            continue
        joined = _join(first, second, chance.choice(_BETWEEN))
        key = (joined.question, joined.answer)
        fits = len(joined.answer) <= LONGEST_ANSWER and len(joined.question) <= MAX_QUESTION_CHARS
        if fits and key not in merged:
            merged[key] = joined
            misses = 0
    return list(merged.values())


def _kind(example: Example) -> tuple[str, bool]:
    return example.category, _POLITE.search(example.question) is not None


def _join(first: Example, second: Example, between: str) -> Example:
    head = first.question if _ENDED.search(first.question) else f"{first.question},"
    category = first.category if first.category == second.category else OTHER
    return Example(
        (
            {"role": "user", "content": f"{head} {between} {second.question}"},
            {"role": "assistant", "content": f"{first.answer} {second.answer}"},
        ),
        f"{first.group}+{second.group}",
        category,
        first.source if first.source == second.source else f"{first.source}+{second.source}",
    )
