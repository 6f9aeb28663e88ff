"""Texts in one form to learn from: what looks the same is the same, what is not seen is gone."""

import re
import unicodedata

_QUOTES = str.maketrans({"“": '"', "”": '"', "„": '"', "‘": "'", "’": "'", "‚": "'", "′": "'"})
_UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn"}  # controls, formats, halves of pairs, nothing assigned
_SPACES = re.compile(r"[^\S\n]+")
_AROUND_BREAKS = re.compile(r" ?\n ?")
_BREAKS = re.compile(r"\n{3,}")
_AGAIN = re.compile(r"([?!])(?:\s*\1)+")


def tidy(text: str) -> str:
    """Return `text` in NFC, with plain quotes and single spaces, without what is not seen."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    # The unseen goes first: between two letters it would keep NFC from joining them.
    seen = "".join(c for c in text if c in "\n\t" or unicodedata.category(c) not in _UNSEEN)
    text = unicodedata.normalize("NFC", seen).translate(_QUOTES)
    text = _AROUND_BREAKS.sub("\n", _SPACES.sub(" ", text))
    return _AGAIN.sub(r"\1", _BREAKS.sub("\n\n", text)).strip()
