"""Fits the retriever's two curves and measures them: `python -m tests.fit_confidence`.

Regularised logistic regression on the best hit's evidence: against whether it is right, and
against whether the question is the shop's business at all. The held-out sets take no part in the
fitting, nor in any choice of a weight or threshold: they are measured only.
"""

import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bot.inquiry import CLEAR, FOUND, OURS
from inference import logistic
from inference.embeddings import E5Embedder
from inference.knowledge import starter_path
from inference.knowledge.files import load
from inference.retrieval import Found, Retriever

DATA = Path(__file__).parent / "data"

Asked = list[tuple[str, set[str]]]


class Measured(NamedTuple):
    """What is found for a set of questions: an array each, in their order."""

    ours: npt.NDArray[np.bool_]  # whether a question is the shop's business
    first: npt.NDArray[np.bool_]  # whether the best hit is right
    third: npt.NDArray[np.bool_]  # whether one of the best three is
    evidence: npt.NDArray[np.float64]
    confidence: npt.NDArray[np.float64]
    business: npt.NDArray[np.float64]


def read_questions(name: str) -> Asked:
    """Return each question of a file with the ids of its right entries, none for one off topic."""
    path = DATA / name
    if path.suffix == ".txt":
        lines = path.read_text(encoding="utf-8").splitlines()
        return [(line, set()) for line in lines if line.strip()]
    with path.open(encoding="utf-8", newline="") as file:
        return [
            (row["question"], set(filter(None, row["expected_id"].split("|"))))
            for row in csv.DictReader(file)
        ]


def measure(retriever: Retriever, asked: Asked) -> Measured:
    """Ask every question."""
    found: list[Found] = [retriever.find(question, 3) for question, _ in asked]
    ids = [[hit.entry.id for hit in f.hits] for f in found]
    return Measured(
        np.array([bool(right) for _, right in asked]),
        np.array([f[0] in right for f, (_, right) in zip(ids, asked, strict=True)]),
        np.array([bool(right & set(f)) for f, (_, right) in zip(ids, asked, strict=True)]),
        np.array([f.hits[0].evidence for f in found]),
        np.array([f.hits[0].confidence for f in found]),
        np.array([f.business for f in found]),
    )


def main() -> None:
    """Print the curves, and for both sets what the thresholds do."""
    retriever = Retriever(load(starter_path()), E5Embedder())
    fitted = [*read_questions("questions.csv"), *read_questions("paraphrases.csv")]
    seen = measure(retriever, fitted + read_questions("offtopic.txt"))
    held_out = read_questions("heldout_questions.csv") + read_questions("heldout_offtopic.txt")
    unseen = measure(retriever, held_out)
    for name, truth in (("_CURVE", seen.first), ("_BUSINESS", seen.ours)):
        spread = seen.evidence.std(0)
        weights, offset = logistic.fit(seen.evidence, truth, spread=spread, ridge=0.5)
        print(f"{name} = ({', '.join(f'{w:.3f}' for w in [*weights, offset])})")
    for name, sets in (("fitted on", seen), ("held out", unseen)):
        print(f"\n{name}: {sets.ours.sum()} in domain, {(~sets.ours).sum()} off topic")
        print(f"  best hit right {sets.first[sets.ours].mean():.3f}", end="")
        print(f", one of three {sets.third[sets.ours].mean():.3f}")
        print("  business   in-domain declined  off-topic declined")
        for threshold in np.arange(0.1, 1.0, 0.1).round(1):
            declined = sets.business < threshold
            mark = "  OURS" if threshold == OURS else ""
            print(
                f"  {threshold:8.1f}  {declined[sets.ours].mean():19.3f}"
                f"  {declined[~sets.ours].mean():18.3f}{mark}"
            )
        print("  confidence  in-domain below  off-topic below  best hit right above")
        for threshold in np.arange(0.1, 1.0, 0.1).round(1):
            below = sets.confidence < threshold
            mark = {FOUND: "  FOUND", CLEAR: "  CLEAR"}.get(threshold, "")
            print(
                f"  {threshold:10.1f}  {below[sets.ours].mean():15.3f}"
                f"  {below[~sets.ours].mean():15.3f}"
                f"  {sets.first[~below & sets.ours].mean():20.3f}{mark}"
            )


if __name__ == "__main__":
    main()
