"""Tells messages that have a fixed answer (a greeting, an insult, a wish for a human …).

A ridge logistic regression for each kind, by the vectors of examples, against all others, the
knowledge's questions and messages that are off topic.
"""

import csv
from collections.abc import Sequence
from importlib import resources

import numpy as np
import numpy.typing as npt

from inference import logistic
from inference.domain import read_off_topic, read_on_topic
from inference.embeddings import Embedder, VectorCache, Vectors
from inference.knowledge import starter_path, vectors
from inference.knowledge.files import load
from inference.text import normalize

SURE = 1.5  # log-odds from which a message is of a kind
# Chosen on tests/data/kinds.csv: the ridge, and what share of the weight the examples of other
# kinds, the knowledge's questions and the off-topic messages have; a kind's own have the rest.
_RIDGE = 30.0
_SHARES = (0.1, 0.2, 0.2)


def read_examples() -> list[tuple[str, str]]:
    """Return messages with their kind, none for an ordinary question; written for this purpose."""
    path = resources.files("inference.knowledge").joinpath("kinds.csv")
    with path.open(encoding="utf-8") as file:
        return [(row["message"], row["kind"]) for row in csv.DictReader(file)]


class Kinds:
    """The kinds of messages as an embedder sees them: `weights` (kinds, dimensions + 1)."""

    def __init__(self, names: Sequence[str], weights: npt.NDArray[np.float64]) -> None:
        self.names = list(names)
        self.weights = weights

    @classmethod
    def learn(cls, embedder: Embedder, cache: VectorCache) -> "Kinds":
        """Fit the kinds; of the embedder inside the wheel they come with us.

        Raises `EmbedderError`.
        """
        if shipped := vectors.read_kinds(embedder.name):
            return cls(*shipped)
        return cls.fit(embedder, cache)

    @classmethod
    def fit(cls, embedder: Embedder, cache: VectorCache) -> "Kinds":
        """Fit the kinds anew; takes seconds. Raises `EmbedderError`."""
        examples = read_examples()
        asked = [text for entry in load(starter_path()) for text in entry.questions]
        asked += read_on_topic()
        groups = [[text for text, _ in examples], asked, read_off_topic()]
        texts = [normalize(text) for group in groups for text in group]
        embedded = cache.embed(embedder, texts).astype(np.float64)
        kinds = np.array([*(kind for _, kind in examples), *[""] * (len(texts) - len(examples))])
        group = np.repeat(np.arange(len(groups)), [len(texts) for texts in groups])
        names = sorted(set(kinds) - {""})
        return cls(names, np.array([_fit(embedded, kinds == name, group) for name in names]))

    def rate(self, vector: Vectors) -> tuple[str, float]:
        """Return the likeliest kind of a message with the log-odds that it is of it."""
        odds = self.weights[:, :-1] @ vector + self.weights[:, -1]
        best = int(odds.argmax())
        return self.names[best], float(odds[best])


def _fit(
    embedded: npt.NDArray[np.float64],
    is_kind: npt.NDArray[np.bool_],
    group: npt.NDArray[np.intp],
) -> npt.NDArray[np.float64]:
    """Return the weights, the offset last, of one kind against all of `group`."""
    shares = np.where(is_kind, (1 - sum(_SHARES)) / is_kind.sum(), 0.0)
    for number, share in enumerate(_SHARES):
        others = (group == number) & ~is_kind
        shares[others] = share / others.sum()
    spread = max(float(embedded.std(0).mean()), 1e-9)
    weights, offset = logistic.fit(
        embedded, is_kind, spread=spread, ridge=_RIDGE, shares=shares * len(shares)
    )
    return np.array([*weights, offset])
