"""KoCommonGEN v2's rows as questions: `concept_set` (a#b#c), sentences `1` … `4`, `gold`."""

from collections.abc import Mapping
from typing import Any

_CHOICES = ("1", "2", "3", "4")


def ask(row: Mapping[str, Any]) -> str:
    """Return the question with its four sentences."""
    words = row["concept_set"].replace("#", ", ")
    return "\n".join([f"낱말: {words}", *offer(row), "정답:"])


def offer(row: Mapping[str, Any]) -> list[str]:
    """Return the sentences, numbered."""
    return [f"{number}. {row[number]}" for number in _CHOICES]


def pick(row: Mapping[str, Any]) -> int:
    """Return the place of the right sentence, from 0."""
    return int(row["gold"]) - 1
