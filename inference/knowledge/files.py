"""Knowledge files: CSV, XLSX and JSONL in, CSV and JSONL out.

Columns go by their names, however they are spelt: the competition's (`id, 질문_1, category,
답변_1` …), its augmentation's (`NO, 카테고리, 질문1, 답변1` …), plain pairs (`Question, Answer`).
"""

import csv
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from io import StringIO
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError
from zipfile import BadZipFile

from inference.knowledge import OTHER, Entry, KnowledgeError

MAX_ID_BYTES = 48  # a button's data carries an id within Telegram's 64 bytes
MAX_QUESTION_CHARS = 1000
MAX_ANSWER_CHARS = 3000  # one message of Telegram holds 4,096

_QUESTION = re.compile(r"(?:질문|question|q)(\d*)")
_ANSWER = re.compile(r"(?:답변|답|answer|a)(\d*)")
_ID = {"id", "no", "번호"}
_CATEGORY = {"category", "카테고리", "분류"}
_ENCODINGS = ("utf-8-sig", "cp949")  # the second is what Excel saves on a Korean Windows
_MAX_PHRASINGS = 30


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a file, `number` as an editor counts it; `problem` says why it is no entry."""

    number: int
    entry: Entry
    problem: str = ""


@dataclass(slots=True)
class Draft:
    """What the cells of a row are, by the names of their columns; texts by their numbers."""

    id: str = ""
    category: str = ""
    questions: dict[int, str] = field(default_factory=dict)
    answers: dict[int, str] = field(default_factory=dict)


def load(path: Path) -> list[Entry]:
    """Read the entries of a file; rows that are none are passed over. Raises `KnowledgeError`."""
    entries = {row.entry.id: row.entry for row in read(path) if not row.problem}
    if not entries:
        msg = f"지식 파일에 쓸 수 있는 항목이 없어요 (열: id, 질문_1, 답변_1 …): {path}"
        raise KnowledgeError(msg)
    return list(entries.values())


def read(path: Path) -> list[Row]:
    """Read every row of a file (CSV; by its ending XLSX or JSONL). Raises `KnowledgeError`.

    Rows without an id are pairs: those that ask the same become one entry with all answers.
    """
    # Rows without any text are left out.
    records = [
        (number, draft)
        for number, cells in read_cells(path)
        if (draft := as_draft(cells)).questions or draft.answers
    ]
    stem = re.sub(r"[^0-9A-Za-z가-힣]+", "_", unicodedata.normalize("NFC", path.stem))
    rows: list[Row] = []
    pairs: dict[str, int] = {}  # the place in `rows` of what was asked without an id
    seen: dict[str, int] = {}
    for number, draft in records:
        row = _row(number, draft, stem)
        if row.problem:
            rows.append(row)
        elif not draft.id and (question := row.entry.questions[0]) in pairs:
            place = pairs[question]
            known = rows[place].entry
            answers = dict.fromkeys([*known.answers, *row.entry.answers])
            rows[place] = replace(rows[place], entry=replace(known, answers=tuple(answers)))
        elif row.entry.id in seen:
            problem = f"id {row.entry.id}가 {seen[row.entry.id]}행에 이미 있음"
            rows.append(replace(row, problem=problem))
        else:
            if not draft.id:
                pairs[row.entry.questions[0]] = len(rows)
            seen[row.entry.id] = number
            rows.append(row)
    return rows


def _row(number: int, draft: Draft, stem: str) -> Row:
    entry = Entry(
        draft.id or f"{stem}_{number}",
        tuple(dict.fromkeys(text for _, text in sorted(draft.questions.items()) if text)),
        draft.category or OTHER,
        tuple(dict.fromkeys(text for _, text in sorted(draft.answers.items()) if text)),
    )
    if entry.id.isdecimal():  # numbers of a file's own: another file counts the same
        entry = replace(entry, id=f"{stem}_{entry.id}")
    return Row(number, entry, find_problem(entry))


def find_problem(entry: Entry) -> str:
    """Return why an entry cannot be used, empty where it can."""
    if not entry.questions:
        return "질문이 없음"
    if not entry.answers:
        return "답변이 없음"
    if len(entry.id.encode()) > MAX_ID_BYTES or re.search(r"\s", entry.id):
        return f"id에 빈칸이 있거나 {MAX_ID_BYTES}바이트보다 긺"
    if max(map(len, entry.questions)) > MAX_QUESTION_CHARS:
        return f"질문이 {MAX_QUESTION_CHARS:,}자보다 긺"
    if max(map(len, entry.answers)) > MAX_ANSWER_CHARS:
        return f"답변이 {MAX_ANSWER_CHARS:,}자보다 긺"
    return ""


def read_cells(path: Path) -> list[tuple[int, Mapping[str, Any]]]:
    """Read the rows of a file with their numbers, as they are. Raises `KnowledgeError`."""
    try:
        match path.suffix.lower():
            case ".xlsx":
                return list(_spreadsheet(path))
            case ".jsonl":
                return list(_json_lines(path))
            case _:
                return list(_comma_separated(path))
    except FileNotFoundError as error:
        msg = f"지식 파일이 없어요: {path}"
        raise KnowledgeError(msg) from error
    except (OSError, ValueError, KeyError, csv.Error, BadZipFile, ParseError) as error:
        msg = f"지식 파일을 읽을 수 없어요: {path}"
        raise KnowledgeError(msg) from error


def as_draft(cells: Mapping[str, Any]) -> Draft:
    """Return what the cells of a row are, by the names of their columns."""
    draft = Draft()
    for name, value in cells.items():
        column = re.sub(r"[\s_.\-]", "", unicodedata.normalize("NFKC", str(name)).lower())
        values = value if isinstance(value, list) else [value]
        texts = [_text(item) for item in values]
        if column in _ID:
            draft.id = texts[0] if texts else ""
        elif column in _CATEGORY:
            draft.category = texts[0] if texts else ""
        elif found := _QUESTION.fullmatch(column.removesuffix("s")):
            _put(draft.questions, int(found[1] or 1), texts)
        elif found := _ANSWER.fullmatch(column.removesuffix("s")):
            _put(draft.answers, int(found[1] or 1), texts)
    return draft


def _put(into: dict[int, str], first: int, texts: Iterable[str]) -> None:
    into |= {n: text for n, text in enumerate(texts, first) if text and n <= _MAX_PHRASINGS}


def _text(value: object) -> str:
    """Return a cell as stored text: numbers as they look, nothing that no database takes."""
    if value is None or isinstance(value, bool | dict | list):
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = unicodedata.normalize("NFC", str(value)).replace("\0", "")
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text.encode(errors="ignore").decode().strip()


def _decode(path: Path) -> str:
    content = path.read_bytes()
    if b"\0" in content:
        msg = "no text"
        raise ValueError(msg)
    for encoding in _ENCODINGS:
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    msg = "in no known encoding"
    raise ValueError(msg)


def _comma_separated(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    reader = csv.DictReader(StringIO(_decode(path), newline=""))
    for cells in reader:
        yield reader.line_num, {name: text for name, text in cells.items() if name}


def _json_lines(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, line in enumerate(_decode(path).split("\n"), 1):
        if line.strip():
            record = json.loads(line)
            yield number, record if isinstance(record, dict) else {}


def _spreadsheet(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    from openpyxl import load_workbook

    book = load_workbook(path, read_only=True, data_only=True)
    try:
        rows = book.worksheets[0].iter_rows(values_only=True)
        names = [str(name or "") for name in next(rows, ())]
        for number, values in enumerate(rows, 2):
            yield number, dict(zip(names, values, strict=False))
    finally:
        book.close()


def write(path: Path, entries: Iterable[Entry]) -> None:
    """Write entries as CSV in the competition's columns, or as JSONL by the file's ending."""
    path.write_text(
        to_json_lines(entries) if path.suffix.lower() == ".jsonl" else to_csv(list(entries)),
        encoding="utf-8",
        newline="",
    )


def to_csv(entries: list[Entry]) -> str:
    """Return entries in the competition's columns; at least two questions and five answers."""
    questions = max([2, *(len(entry.questions) for entry in entries)])
    answers = max([5, *(len(entry.answers) for entry in entries)])
    output = StringIO()
    writer = csv.writer(output, lineterminator="\n")
    writer.writerow(
        [
            *("id", "질문_1", "질문_2", "category"),
            *(f"답변_{n}" for n in range(1, answers + 1)),
            *(f"질문_{n}" for n in range(3, questions + 1)),
        ]
    )
    for entry in entries:
        asked = [*entry.questions, *[""] * (questions - len(entry.questions))]
        said = [*entry.answers, *[""] * (answers - len(entry.answers))]
        writer.writerow([entry.id, *asked[:2], entry.category, *said, *asked[2:]])
    return output.getvalue()


def to_json_lines(entries: Iterable[Entry]) -> str:
    """Return entries as JSON, a line each."""
    return "".join(f"{json.dumps(as_dict(entry), ensure_ascii=False)}\n" for entry in entries)


def as_dict(entry: Entry) -> dict[str, Any]:
    """Return an entry as JSON takes it."""
    return {
        "id": entry.id,
        "category": entry.category,
        "questions": list(entry.questions),
        "answers": list(entry.answers),
    }
