"""Texts in one form, and what the lexical side of the retrieval counts in them."""

import re
import unicodedata

_NOT_LETTER = re.compile(r"[^0-9a-z가-힣]+")
_SPACE = re.compile(r"\s+")


def normalize(text: str) -> str:
    """Return `text` in one form: nothing invisible, NFKC, lower case, single spaces."""
    # The invisible goes first: between two letters it would keep NFKC from joining them.
    visible = "".join(c for c in text if unicodedata.category(c) not in {"Cf", "Cc"} or c in "\n\t")
    return _SPACE.sub(" ", unicodedata.normalize("NFKC", visible).lower()).strip()


def bigrams(text: str) -> list[str]:
    """Return the pairs of neighbouring letters, spaces left out: spacing errors cost nothing."""
    letters = _NOT_LETTER.sub("", text)
    return [letters[i : i + 2] for i in range(len(letters) - 1)] or [letters] * bool(letters)
