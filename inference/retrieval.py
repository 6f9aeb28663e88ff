"""Finds the knowledge entries that fit a question: embeddings and character bigrams, fused."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import bm25s
import numpy as np
import numpy.typing as npt

from inference.aspects import find_aspects, rate_fit
from inference.domain import Domain, read_off_topic, read_on_topic
from inference.embeddings import Embedder, EmbedderError, Progress, VectorCache, Vectors
from inference.kinds import SURE, Kinds
from inference.knowledge import Entry
from inference.nearest import Nearest
from inference.text import bigrams, normalize

# Weights beside the vectors' likeness: BM25 over all phrasings of an entry and over its answers
# (each as a share of the best candidate's), and what a question wants to know. The more phrasings
# an entry has, the more their words tell, and the less is left for the other two. Chosen on the
# questions of tests/data and the competition's file, which has one phrasing an entry.
_QUESTION_WORDS, _ANSWER_WORDS, _ASPECT = 0.8, 1.3, 0.8
# Weight of the mean of an entry's phrasings against its best: one phrasing alone may be like the
# question by its sentence only, while the others say that the matter is another.
_MEAN = 0.6

# Two logistic curves over the evidence of the best hit, its score, its lead over the next, the
# share of the question's bigrams that it holds and the log-odds of its vector being the shop's
# business: to the confidence that it answers, and to the chance that the question is the shop's
# business at all. What `python -m tests.fit_confidence` prints.
_CURVE = (1.523, 1.566, 6.669, 0.200, -12.193)
_BUSINESS = (0.965, 0.513, 7.916, 0.945, -6.465)
_WORDS_CURVE = (8.0, -3.2)  # over the share of bigrams alone, while there are no vectors
_CANDIDATES = 50  # that are looked at closely, by vectors and by words each

_K1, _B = 1.5, 0.75
_REMEMBERED = 2048  # questions whose hits are kept: many customers ask the same
_LEARNT_FROM = 10_000  # questions, spread over all, that teach what the shop's business is
_LOOKED_AT = 4096  # phrasings and answers that are kept ready, read


@dataclass(frozen=True, slots=True)
class Hit:
    """An entry that was found; `score` orders hits, `confidence` in 0–1 says if it answers.

    `evidence` is what the confidence was reckoned from, in the order of its curve.
    """

    entry: Entry
    score: float
    confidence: float
    evidence: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """The best entries, the best first.

    `business` in 0–1 says if the question is the shop's at all, `kind` if it is one of those that
    have a fixed answer.
    """

    hits: tuple[Hit, ...]
    business: float
    kind: str | None = None
    kind_odds: float = 0.0  # the log-odds that it is of that kind


class Retriever:
    """An index over the questions of some entries; immutable, so that threads may share it.

    Raises `EmbedderError` where the vectors cannot be had.
    """

    def __init__(
        self,
        entries: Sequence[Entry],
        embedder: Embedder,
        cache: VectorCache | None = None,
        progress: Progress | None = None,
        kinds: Kinds | None = None,
    ) -> None:
        cache = cache or VectorCache(None)
        self._kinds = kinds
        self.entries = list(entries)
        self._by_id = {entry.id: entry for entry in entries}
        counts = [len(entry.questions) for entry in entries]
        self._starts = np.concatenate([[0], np.cumsum(counts)])  # of each entry's phrasings
        self._owner = np.repeat(np.arange(len(entries)), counts)
        self._texts = [normalize(question) for entry in entries for question in entry.questions]
        self._embedder = embedder
        vectors = cache.embed(embedder, self._texts, progress)
        outside = cache.embed(embedder, [normalize(text) for text in read_off_topic()])
        step = -(-len(vectors) // _LEARNT_FROM)
        inside = cache.embed(embedder, [normalize(text) for text in read_on_topic()])
        self._domain = Domain(np.concatenate([vectors[::step], inside]), outside)
        self._nearest = Nearest(vectors)
        self._scale = _Scale(outside)
        self._words = _Words([normalize(" ".join(entry.questions)) for entry in entries])
        self._answer_length = float(np.mean([sum(map(len, e.answers)) for e in entries]))
        self._aspects = lru_cache(maxsize=_LOOKED_AT)(self._read_aspects)
        self._count_answers = lru_cache(maxsize=_LOOKED_AT)(self._read_answers)
        self._find = lru_cache(maxsize=_REMEMBERED)(self._search)

    def entry(self, id_: str) -> Entry | None:
        """Return the entry of an id, None where there is none (any more)."""
        return self._by_id.get(id_)

    def search(self, question: str, limit: int = 5) -> list[Hit]:
        """Return the best entries, the best first."""
        return list(self.find(question, limit).hits)

    def find(self, question: str, limit: int = 5) -> Found:
        """Return the best entries and whether the question is the shop's business at all.

        While the embedder is away words alone decide.
        """
        text = normalize(question)
        try:
            return self._find(text, limit)
        except EmbedderError:
            return self._find_by_words(text, limit)

    def judge(self, text: str) -> tuple[float, float]:
        """Return how likely a text is the shop's business, and how well the best entry fits."""
        found = self.find(text, 1)
        return found.business, found.hits[0].score

    def _search(self, text: str, limit: int) -> Found:
        vector = self._embedder.embed([text])[0]
        words = self._words.score(text)
        nearest = self._owner[self._nearest.find(vector, _CANDIDATES)]
        owners = np.union1d(nearest, _best(words))
        counts = self._starts[owners + 1] - self._starts[owners]
        own = np.concatenate([[0], np.cumsum(counts)[:-1]])  # where each one's phrasings begin
        near = np.arange(counts.sum()) + np.repeat(self._starts[owners] - own, counts)
        likeness = self._scale.measure(self._nearest.rate(vector, near))
        best = np.maximum.reduceat(likeness, own)
        mean = np.add.reduceat(likeness, own) / counts
        covered = words[owners]
        asked = find_aspects(text)
        is_best = likeness == np.repeat(best, counts)
        first_best = np.minimum.reduceat(np.where(is_best, near, len(self._texts)), own)
        fits = np.array([rate_fit(asked, self._aspects(int(place))) for place in first_best])
        scores = (1 - _MEAN) * best + _MEAN * mean
        scores += _QUESTION_WORDS * np.cbrt(counts) * covered / max(float(covered.max()), 1e-9)
        told = _ASPECT * fits + _ANSWER_WORDS * self._rate_answers(text, owners)
        scores += told / np.sqrt(counts)
        order = np.lexsort((owners, -scores))
        domain = self._domain.rate(vector)
        first, second = (*scores[order[:2]], 0.0)[:2]
        perfect = self._words.perfect(text)
        hits, sure = [], 1.0
        for number in order[:limit]:
            lead = scores[number] - (second if number == order[0] else first)
            share_held = float(covered[number]) / perfect
            evidence = (float(scores[number]), float(lead), share_held, domain)
            sure = min(sure, _confidence(_CURVE, evidence))  # a later hit is never surer
            entry = self.entries[owners[number]]
            hits.append(Hit(entry, round(float(scores[number]), 4), sure, evidence))
        kind, odds = self._kinds.rate(vector) if self._kinds else ("", 0.0)
        business = _confidence(_BUSINESS, hits[0].evidence)
        return Found(tuple(hits), business, kind if odds >= SURE else None, odds)

    def _find_by_words(self, text: str, limit: int) -> Found:
        words = self._words.score(text)
        perfect = self._words.perfect(text)
        owners = sorted(_best(words), key=lambda owner: -words[owner])[:limit]
        shares = [float(words[owner]) / perfect for owner in owners]
        hits = [
            Hit(self.entries[owner], round(share, 4), _confidence(_WORDS_CURVE, [share]))
            for owner, share in zip(owners, shares, strict=True)
        ]
        return Found(tuple(hits), hits[0].confidence)

    def _rate_answers(self, text: str, owners: npt.NDArray[np.intp]) -> npt.NDArray[np.float64]:
        """Return how much of the question's bigrams the answers of entries hold, the best one 1."""
        asked = Counter(bigrams(text))
        scores = np.zeros(len(owners))
        for number, owner in enumerate(owners):
            told, length = self._count_answers(int(owner))
            damping = _K1 * (1 - _B + _B * length / self._answer_length)
            scores[number] = sum(
                count * self._words.rarity(token) * told[token] / (told[token] + damping)
                for token, count in asked.items()
                if token in told
            )
        return scores / max(float(scores.max()), 1e-9)

    def _read_aspects(self, place: int) -> frozenset[str]:
        return find_aspects(self._texts[place])

    def _read_answers(self, owner: int) -> tuple[Counter[str], int]:
        text = " ".join(self.entries[owner].answers)
        return Counter(bigrams(normalize(text))), len(text)


class _Scale:
    """Likeness in the spread that an embedder's cosines have between unrelated texts.

    Each embedder has cosines of its own; so measured, their weights stay the same.
    """

    def __init__(self, unrelated: Vectors) -> None:
        cosines = (unrelated @ unrelated.T)[np.triu_indices(len(unrelated), 1)]
        self._mean = float(cosines.mean())
        self._spread = max(float(cosines.std()), 1e-9)

    def measure(self, cosines: Vectors) -> Vectors:
        """Return cosines in this measure."""
        return (cosines - self._mean) / self._spread


class _Words:
    """BM25 over character bigrams."""

    def __init__(self, texts: Sequence[str]) -> None:
        places: dict[str, int] = {}  # of the bigrams, in the order they came
        tokens = [
            [places.setdefault(token, len(places)) for token in bigrams(text)] for text in texts
        ]
        self._count = len(tokens)
        self._bm25 = bm25s.BM25(k1=_K1, b=_B, method="lucene")
        self._bm25.index((tokens, places), show_progress=False)
        self._places = places
        self._frequencies = np.zeros(len(places), np.int64)
        for document in tokens:
            self._frequencies[list(set(document))] += 1
        self._mean_length = sum(map(len, tokens)) / len(tokens)

    def score(self, text: str) -> Vectors:
        """Return the BM25 of every text."""
        known = [self._places[token] for token in bigrams(text) if token in self._places]
        if not known:
            return np.zeros(self._count, np.float32)
        scores: Vectors = self._bm25.get_scores_from_ids(known)
        return scores

    def perfect(self, text: str) -> float:
        """Return what `text` itself would get: what no question knows weighs most."""
        tokens = bigrams(text)
        damping = _K1 * (1 - _B + _B * len(tokens) / self._mean_length)
        return max(
            1e-9,
            sum(
                self.rarity(token) * count * count / (count + damping)
                for token, count in Counter(tokens).items()
            ),
        )

    def rarity(self, token: str) -> float:
        """Return the inverse document frequency as BM25 ("lucene") has it."""
        place = self._places.get(token)
        frequency = 0 if place is None else int(self._frequencies[place])
        return math.log(1 + (self._count - frequency + 0.5) / (frequency + 0.5))


def _best(scores: Vectors) -> npt.NDArray[np.intp]:
    if len(scores) <= _CANDIDATES:
        return np.arange(len(scores))
    return np.argpartition(-scores, _CANDIDATES)[:_CANDIDATES]


def _confidence(curve: Sequence[float], evidence: Sequence[float]) -> float:
    *weights, offset = curve
    weighted = sum(w * x for w, x in zip(weights, evidence, strict=True)) + offset
    return round(float(1 / (1 + np.exp(-weighted))), 4)
