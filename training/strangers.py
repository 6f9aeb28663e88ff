"""Answers that stand in the wrong row: like no other text of it, and like those of another.

Texts are compared by the pairs of letters that they have in common, the rare ones weighing more
(tf-idf, cosines). On the competition's data, where none stood out, 379 of 384 answers exchanged at
random were found, and none of the others.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from inference.text import bigrams, normalize

_AT_HOME = 0.1  # mean likeness with its own row from which an answer belongs there
_LEAD = 0.1  # by which another row must be liker
_ALONE = 3  # texts that a row must have besides the answer: one question may share no word with it
_BATCH = 128  # answers that are compared at a time


def find_strangers(rows: Sequence[tuple[Sequence[str], Sequence[str]]]) -> set[tuple[int, int]]:
    """Return the answers, by row and place in it, that rather belong to another of the rows.

    A row is its questions and its answers.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    sizes = np.array([len(questions) + len(answers) for questions, answers in rows])
    if len(rows) < 2:
        return set()
    starts = np.cumsum(sizes) - sizes
    texts = [normalize(text) for questions, answers in rows for text in (*questions, *answers)]
    vectors = TfidfVectorizer(analyzer=bigrams, sublinear_tf=True).fit_transform(texts)
    places = [
        (row, number, starts[row] + len(rows[row][0]) + number)
        for row in range(len(rows))
        for number in range(len(rows[row][1]))
        if sizes[row] > _ALONE
    ]
    found: set[tuple[int, int]] = set()
    for start in range(0, len(places), _BATCH):
        batch = places[start : start + _BATCH]
        own_row, number, own = (np.array(each) for each in zip(*batch, strict=True))
        likeness: npt.NDArray[np.float64] = (vectors[own] @ vectors.T).toarray()
        here = np.arange(len(batch))
        likeness[here, own] = 0.0  # an answer is like itself
        means = np.add.reduceat(likeness, starts, axis=1) / sizes
        at_home = means[here, own_row] * sizes[own_row] / (sizes[own_row] - 1)
        means[here, own_row] = 0.0
        strange = (at_home < _AT_HOME) & (means.max(axis=1) >= at_home + _LEAD)
        found |= set(zip(own_row[strange].tolist(), number[strange].tolist(), strict=True))
    return found
