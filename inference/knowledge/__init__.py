"""Knowledge: questions with their answers, by which 딥봇 answers and which it can name."""

from dataclasses import dataclass
from importlib import resources
from pathlib import Path

# The competition's categories, those of its augmentation, and the shop's own.
CATEGORIES = (
    *("건축구조", "마감재", "마감하자", "타 마감하자", "시공", "인테리어", "기타"),
    *("가구수정", "울음", "이음부불량", "걸레받이수정", "면불량", "오타공", "들뜸"),
    *("견적·계약·보증", "안전"),
)
OTHER = "기타"  # where a file names none


class KnowledgeError(Exception):
    """A knowledge file cannot be used; the text is one Korean sentence for the operator."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One piece of knowledge: a question in its phrasings and its answers, the best first."""

    id: str
    questions: tuple[str, ...]
    category: str
    answers: tuple[str, ...]


def starter_path() -> Path:
    """Return the knowledge that comes with the project."""
    return Path(str(resources.files("inference.knowledge").joinpath("starter.csv")))
