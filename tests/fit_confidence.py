"""Fits the retriever's confidence curve: `python -m tests.fit_confidence`.

Regularised logistic regression on the best hit's evidence, against whether it is right. The
messages of tests/data/offtopic.txt and the questions of paraphrases.csv, which ask in other words
than the knowledge's, take no part in the fitting: they are measured only.
"""

import csv
from pathlib import Path

import numpy as np

from bot.consult import CLEAR, FOUND
from inference import logistic
from inference.knowledge import load, starter_path
from inference.retrieval import E5Embedder, Hit, Retriever

QUESTIONS = Path(__file__).parent / "data" / "questions.csv"
PARAPHRASES = QUESTIONS.with_name("paraphrases.csv")
OFF_TOPIC = Path(__file__).parent / "data" / "offtopic.txt"


def read_questions(path: Path = QUESTIONS) -> list[tuple[str, set[str]]]:
    """Return each question with the ids of its right entries, none for one off topic."""
    with path.open(encoding="utf-8", newline="") as file:
        return [
            (row["question"], set(filter(None, row["expected_id"].split("|"))))
            for row in csv.DictReader(file)
        ]


def main() -> None:
    """Print the curve, what the thresholds do, and how the share kept falls with the threshold."""
    retriever = Retriever(load(starter_path()), E5Embedder())
    asked = read_questions()
    found: list[list[Hit]] = [retriever.search(question, 3) for question, _ in asked]
    evidence = np.array([hits[0].evidence for hits in found])
    in_domain = np.array([bool(ids) for _, ids in asked])
    right = np.array([h[0].entry.id in ids for h, (_, ids) in zip(found, asked, strict=True)])
    weights, offset = logistic.fit(evidence, right, spread=evidence.std(0), ridge=0.5)
    print("curve (score, lead, share, business, offset):", weights.round(3), round(offset, 3))
    confidence = np.array([hits[0].confidence for hits in found])
    unseen = OFF_TOPIC.read_text(encoding="utf-8").splitlines()
    off = np.array([retriever.search(message, 1)[0].confidence for message in unseen])
    others = [(retriever.search(question, 3), ids) for question, ids in read_questions(PARAPHRASES)]
    sure = np.array([hits[0].confidence for hits, _ in others])
    first = np.array([hits[0].entry.id in ids for hits, ids in others])
    print(f"best hit right: {right[in_domain].mean():.3f} of {in_domain.sum()}", end="")
    print(f", unseen {first.mean():.3f} of {len(others)}")
    print("           in-domain  off-topic  unseen in-domain  unseen off-topic  best hit  unseen")
    print("threshold       kept       kept              kept              kept     right   right")
    for threshold in sorted({FOUND, CLEAR, *np.arange(0.1, 1.0, 0.1).round(1)}):
        kept = confidence >= threshold
        name = {FOUND: " FOUND", CLEAR: " CLEAR"}.get(threshold, "")
        print(
            f"{threshold:9.2f}  {kept[in_domain].mean():9.3f}  {kept[~in_domain].mean():9.3f}  "
            f"{(sure >= threshold).mean():16.3f}  {(off >= threshold).mean():16.3f}  "
            f"{right[kept].mean():8.3f}  {first[sure >= threshold].mean():6.3f}{name}"
        )


if __name__ == "__main__":
    main()
