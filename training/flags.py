"""All pairs looked through for what should not be learnt."""

from collections.abc import Sequence

from training.noise import Noise, judge
from training.rows import compare_answers, compare_phrasings
from training.sources import Pair
from training.strangers import find_strangers


def flag(pairs: Sequence[Pair]) -> dict[int, Noise]:
    """Return why pairs are flagged, by their places; the first reason where there are several."""
    found = {
        place: noise
        for place, pair in enumerate(pairs)
        if (noise := judge(pair.question, pair.answer))
    }
    rows = _Rows(pairs)
    for row, (questions, answers) in enumerate(rows.texts):
        wrong = compare_answers(answers)
        drifted = compare_phrasings(questions, answers)
        for (asked, told), place in rows.places[row].items():
            if noise := wrong.get(told) or drifted.get((asked, told)):
                found.setdefault(place, noise)
    strangers = find_strangers(rows.texts)
    for row, places in enumerate(rows.places):
        for (_, told), place in places.items():
            if (row, told) in strangers:
                found.setdefault(place, Noise.STRANGER)
    return dict(sorted(found.items()))


class _Rows:
    """Pairs as rows of questions and answers; a conversation's answers are each a row."""

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self.texts: list[tuple[list[str], list[str]]] = []
        self.places: list[dict[tuple[int, int], int]] = []  # of pairs, by question and answer
        rows: dict[tuple[str, int], int] = {}
        for place, pair in enumerate(pairs):
            row = rows.setdefault((pair.unit, pair.row), len(rows))
            if row == len(self.texts):
                self.texts.append(([], []))
                self.places.append({})
            questions, answers = self.texts[row]
            self.places[row][_put(questions, pair.question), _put(answers, pair.answer)] = place


def _put(texts: list[str], text: str) -> int:
    """Return the place of a text, at the end where it is new."""
    if text not in texts:
        texts.append(text)
    return texts.index(text)
