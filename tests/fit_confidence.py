"""Fits the retriever's two curves and measures them: `python -m tests.fit_confidence`.

Regularised logistic regression on the best hit's evidence: against whether it is right, and
against whether the question is the shop's business at all. Nothing was fitted or chosen on the
held-out sets, which were written when all that is measured here was done, but for the short
messages.
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

FITTED = ("questions.csv", "paraphrases.csv", "customers.csv")

# How much a question counts whose right entries are taken away, beside one that has them: of five
# questions that customers ask about the shop's business, one has no entry.
_MISSING = 0.25
_LOOKED_AT = 10


class Measured(NamedTuple):
    """What is found for a set of questions: an array each, in their order."""

    ours: npt.NDArray[np.bool_]  # whether a question is the shop's business
    first: npt.NDArray[np.bool_]  # whether the best hit is right
    third: npt.NDArray[np.bool_]  # whether one of the best three is
    evidence: npt.NDArray[np.float64]
    confidence: npt.NDArray[np.float64]
    business: npt.NDArray[np.float64]
    missing: npt.NDArray[np.float64]  # evidence of the best hit, were no right entry there


def read_questions(name: str) -> Asked:
    """Return each question of a file with the ids of its right entries, none where none is."""
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
    found: list[Found] = [retriever.find(question, _LOOKED_AT) for question, _ in asked]
    ids = [[hit.entry.id for hit in f.hits] for f in found]
    return Measured(
        np.array([bool(right) for _, right in asked]),
        np.array([f[0] in right for f, (_, right) in zip(ids, asked, strict=True)]),
        np.array([bool(right & set(f[:3])) for f, (_, right) in zip(ids, asked, strict=True)]),
        np.array([f.hits[0].evidence for f in found]),
        np.array([f.hits[0].confidence for f in found]),
        np.array([f.business for f in found]),
        np.array([_without(f, right) for f, (_, right) in zip(found, asked, strict=True) if right]),
    )


def _without(found: Found, right: set[str]) -> tuple[float, ...]:
    """Return the evidence of the best hit that is not right, with its lead over the next."""
    first, second, *_ = [hit for hit in found.hits if hit.entry.id not in right]
    score, _, share, domain = first.evidence
    return score, score - second.evidence[0], share, domain


def main() -> None:
    """Print the curves, and for each set what the thresholds do."""
    retriever = Retriever(load(starter_path()), E5Embedder())
    fitted = [question for name in FITTED for question in read_questions(name)]
    seen = measure(retriever, fitted + read_questions("offtopic.txt"))
    held_out = read_questions("heldout_questions.csv") + read_questions("heldout_offtopic.txt")
    unseen = measure(retriever, held_out)
    short = measure(retriever, read_questions("short_questions.csv"))
    everything = np.concatenate([seen.evidence, seen.missing])
    counts = np.concatenate([np.ones(len(seen.evidence)), np.full(len(seen.missing), _MISSING)])
    none, ours = np.zeros(len(seen.missing), bool), np.ones(len(seen.missing), bool)
    curve = _fit("_CURVE", everything, np.concatenate([seen.first, none]), counts)
    _fit("_BUSINESS", everything, np.concatenate([seen.ours, ours]), counts)
    for name in ("unanswered.txt", "heldout_unanswered.txt"):
        found = measure(retriever, read_questions(name))
        declined, unsure = found.business < OURS, found.confidence < FOUND
        print(f"\n{name}: {len(declined)} in domain that no entry answers")
        print(f"  declined {declined.mean():.3f}, asked back {(~declined & unsure).mean():.3f}")
    for name, sets in (("fitted on", seen), ("held out", unseen), ("short", short)):
        print(f"\n{name}: {sets.ours.sum()} in domain, {(~sets.ours).sum()} off topic")
        print(f"  best hit right {sets.first[sets.ours].mean():.3f}", end="")
        print(f", one of three {sets.third[sets.ours].mean():.3f}")
        if sets.ours.all():
            print(f"  declined at OURS {(sets.business < OURS).mean():.3f}", end="")
            print(f", below FOUND {(sets.confidence < FOUND).mean():.3f}")
            continue
        print("  business   in-domain declined  off-topic declined")
        for threshold in np.arange(0.1, 1.0, 0.1).round(1):
            declined = sets.business < threshold
            mark = "  OURS" if threshold == OURS else ""
            print(
                f"  {threshold:8.1f}  {declined[sets.ours].mean():19.3f}"
                f"  {declined[~sets.ours].mean():18.3f}{mark}"
            )
        print("  confidence  in-domain below  off-topic below  best hit right above", end="")
        print("  entry missing, below")
        missing = 1 / (1 + np.exp(-(sets.missing @ curve[:-1] + curve[-1])))
        for threshold in np.arange(0.1, 1.0, 0.1).round(1):
            below = sets.confidence < threshold
            mark = {FOUND: "  FOUND", CLEAR: "  CLEAR"}.get(threshold, "")
            print(
                f"  {threshold:10.1f}  {below[sets.ours].mean():15.3f}"
                f"  {below[~sets.ours].mean():15.3f}"
                f"  {sets.first[~below & sets.ours].mean():20.3f}"
                f"  {(missing < threshold).mean():20.3f}{mark}"
            )


def _fit(
    name: str,
    evidence: npt.NDArray[np.float64],
    truth: npt.NDArray[np.bool_],
    counts: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:
    """Fit a curve, print it and return it, the offset last."""
    spread = evidence.std(0)
    weights, offset = logistic.fit(evidence, truth, spread=spread, ridge=0.5, shares=counts)
    print(f"{name} = ({', '.join(f'{w:.3f}' for w in [*weights, offset])})")
    return np.array([*weights, offset])


if __name__ == "__main__":
    main()
