"""Measures the corrector of misheard words: `python -m tests.misheard`.

Its bounds were chosen on the first set of sentences; the second was written when they stood.
"""

import csv
from pathlib import Path

from inference.embeddings import E5Embedder
from inference.knowledge import starter_path
from inference.knowledge.files import load
from inference.retrieval import Retriever
from inference.speech.mishearing import Judge, correct

DATA = Path(__file__).parent / "data"
CHOSEN_ON, UNSEEN = "", "_unseen"


def read(which: str) -> tuple[list[tuple[str, str]], list[str]]:
    """Return sentences as heard and as meant, and sentences that were heard right."""
    with (DATA / f"misheard{which}.csv").open(encoding="utf-8", newline="") as file:
        wrong = [(row["heard"], row["meant"]) for row in csv.DictReader(file)]
    return wrong, (DATA / f"heard_right{which}.txt").read_text(encoding="utf-8").splitlines()


def measure(which: str, judge: Judge) -> tuple[float, list[str]]:
    """Return the share that is mended, and the right sentences that are harmed.

    Spacing does not count: 실크 벽지 and 실크벽지 are the recogniser's taste.
    """
    wrong, right = read(which)
    mended = [_bare(correct(heard, judge)) == _bare(meant) for heard, meant in wrong]
    harmed = [text for text in right if correct(text, judge) != text]
    return sum(mended) / len(mended), harmed


def _bare(text: str) -> str:
    return text.replace(" ", "")


def main() -> None:
    """Print both shares, of both sets."""
    judge = Retriever(load(starter_path()), E5Embedder()).judge
    for which in (CHOSEN_ON, UNSEEN):
        wrong, right = read(which)
        mended, harmed = measure(which, judge)
        print(f"mended {mended:.3f} of {len(wrong)}, harmed {len(harmed)} of {len(right)}")
        print("\n".join(f"  {text} -> {correct(text, judge)}" for text in harmed))


if __name__ == "__main__":
    main()
