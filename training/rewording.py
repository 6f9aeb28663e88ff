"""Which of the words that a model wrote for a question still ask the same.

A small model answers where it should reword, drops what matters, or asks something near; rules and
the embedder of the retrieval tell most of that.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from inference.aspects import find_aspects
from inference.check import find_change
from inference.embeddings import E5Embedder, VectorCache
from inference.nearest import Nearest
from inference.text import normalize
from training.progress import counting

CHANGED, SAME, UNASKED = "changed", "same", "unasked"
"""Why words are dropped: they name something else, are the very same, or ask nothing."""

_LONGEST = 3.0  # times the question's length
# Questions among which one of its own group must be. Of the competition's questions 85 % have their
# other phrasing as the nearest of all, 99.5 % among the nearest five.
_NEAREST = 5
_ASKS = re.compile(
    r"[?？]|(?:[나까지죠가니냐]|[는은]데|[인는]지)요?[\s.~ㅠㅜ]*$"
    r"|뭐|무엇|무슨|어떤|어떻|어디|언제|왜|얼마|몇|알려|알고 싶|궁금|추천|설명|가르쳐|도와|부탁"
)
_TELLS = re.compile(r"(?:니다|[이한된]다|세요|[함음됨임])[\s.]*$|[*:：]")
_REQUESTS = re.compile(r"(?:알려|설명해|추천해|가르쳐|도와)\s?주(?:세요|십시오)|궁금합니다|부탁")
# What a question is after must stay: no other word tells 장점 from 단점.
_KEPT = frozenset({"pros", "cons", "both", "cheap", "dear", "care"})


def choose(question: str, written: Iterable[str], count: int, dropped: Counter[str]) -> list[str]:
    """Return at most `count` of what was written for a question; count those `dropped`, by why."""
    chosen: dict[str, str] = {}
    for text in written:
        if reason := _find_fault(text, question):
            dropped[reason] += 1
        elif normalize(text) in chosen:
            dropped[SAME] += 1
        elif len(chosen) < count:
            chosen[normalize(text)] = text
    return list(chosen.values())


def find_elsewhere(
    texts: Sequence[str], groups: Sequence[str], questions: Sequence[str], owners: Sequence[str]
) -> set[int]:
    """Return the places of texts whose nearest questions, in meaning, are all of other groups.

    `groups` are those of the texts, `owners` those of the questions.
    """
    if not texts:
        return set()
    embedder, cache = E5Embedder(), VectorCache(None)
    with counting("뜻 견주기", len(questions) + len(texts)) as advance:
        nearest = Nearest(cache.embed(embedder, [normalize(each) for each in questions]))
        advance(len(questions))
        vectors = cache.embed(embedder, [normalize(each) for each in texts])
        advance(len(texts))
    return {
        place
        for place, vector in enumerate(vectors)
        if groups[place] not in {owners[near] for near in nearest.find(vector, _NEAREST)}
    }


def _find_fault(text: str, question: str) -> str | None:
    if normalize(text) == normalize(question):
        return SAME
    if len(text) > _LONGEST * len(question) or (_asks(question) and not _asks(text)):
        return UNASKED
    here, there = (find_aspects(normalize(each)) & _KEPT for each in (text, question))
    return CHANGED if here != there or find_change(text, question) else None


def _asks(text: str) -> bool:
    is_told = _TELLS.search(text) and not _REQUESTS.search(text)
    return _ASKS.search(text) is not None and not is_told
