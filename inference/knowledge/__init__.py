"""Knowledge entries, read from CSV files in the competition's columns."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

QUESTION_COLUMNS = ("질문_1", "질문_2")
ANSWER_COLUMNS = ("답변_1", "답변_2", "답변_3", "답변_4", "답변_5")


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
    return Path(str(files("inference.knowledge").joinpath("starter.csv")))


def load(path: Path) -> list[Entry]:
    """Read the entries of a CSV file (UTF-8, with or without BOM). Raises `KnowledgeError`."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            entries = list(_read(csv.DictReader(file)))
    except FileNotFoundError as error:
        msg = f"지식 파일이 없어요: {path}"
        raise KnowledgeError(msg) from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        msg = f"지식 파일을 읽을 수 없어요: {path}"
        raise KnowledgeError(msg) from error
    if not entries:
        msg = f"지식 파일에 쓸 수 있는 항목이 없어요 (열: id, 질문_1, 답변_1 …): {path}"
        raise KnowledgeError(msg)
    return entries


def _read(rows: "csv.DictReader[str]") -> Iterator[Entry]:
    for row in rows:
        questions = _cells(row, QUESTION_COLUMNS)
        answers = _cells(row, ANSWER_COLUMNS)
        if row.get("id") and questions and answers:
            yield Entry(row["id"], questions, row.get("category") or "기타", answers)


def _cells(row: dict[str, str], columns: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(text for column in columns if (text := (row.get(column) or "").strip()))
