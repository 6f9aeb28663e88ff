"""Fits the retriever's confidence curve: `python -m tests.fit_confidence`.

Regularised logistic regression on the best hit's score and lead, against whether it is right.
"""

import csv
from pathlib import Path

import numpy as np

from bot.consult import CLEAR, FOUND
from inference.knowledge import load, starter_path
from inference.retrieval import E5Embedder, Hit, Retriever

QUESTIONS = Path(__file__).parent / "data" / "questions.csv"


def read_questions() -> list[tuple[str, set[str]]]:
    """Return each question with the ids of its right entries, none for one off topic."""
    with QUESTIONS.open(encoding="utf-8", newline="") as file:
        return [
            (row["question"], set(filter(None, row["expected_id"].split("|"))))
            for row in csv.DictReader(file)
        ]


def fit(features: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return weights and offset (features + 1,) by Newton's method; features are (n, k)."""
    mean, spread = features.mean(0), features.std(0)
    inputs = np.c_[(features - mean) / spread, np.ones(len(features))]
    ridge = 0.5 * np.diag([*np.ones(features.shape[1]), 0.0])
    weights = np.zeros(inputs.shape[1])
    for _ in range(50):
        chance = 1 / (1 + np.exp(-inputs @ weights))
        slope = inputs.T @ (right - chance) - ridge @ weights
        curvature = (inputs * (chance * (1 - chance))[:, None]).T @ inputs + ridge
        weights += np.linalg.solve(curvature, slope)
    scaled = weights[:-1] / spread
    return np.append(scaled, weights[-1] - scaled @ mean)


def main() -> None:
    """Print the curve and what the two thresholds do on the same questions."""
    retriever = Retriever(load(starter_path()), E5Embedder())
    asked = read_questions()
    found: list[list[Hit]] = [retriever.search(question, 2) for question, _ in asked]
    features = np.array([[h[0].score, h[0].score - h[1].score] for h in found])
    in_domain = np.array([bool(ids) for _, ids in asked])
    right = np.array([h[0].entry.id in ids for h, (_, ids) in zip(found, asked, strict=True)])
    curve = fit(features, right.astype(float))
    print("curve (score, lead, offset):", curve.round(1))
    confidence = 1 / (1 + np.exp(-(features @ curve[:2] + curve[2])))
    for name, threshold in (("FOUND", FOUND), ("CLEAR", CLEAR)):
        kept = confidence >= threshold
        print(
            f"{name} {threshold}: in-domain kept {kept[in_domain].mean():.3f}, "
            f"off-topic kept {kept[~in_domain].mean():.3f}, best hit right {right[kept].mean():.3f}"
        )


if __name__ == "__main__":
    main()
