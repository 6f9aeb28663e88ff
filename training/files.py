"""Files that are there whole or not at all."""

import csv
from collections.abc import Iterable, Sequence
from io import StringIO
from pathlib import Path

from pydantic import BaseModel

_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what makes a spreadsheet run a cell


def write_text(path: Path, text: str) -> None:
    """Write a text, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    try:
        part.write_text(text, encoding="utf-8", newline="")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_json(path: Path, record: BaseModel) -> None:
    """Write a record as JSON, whole or not at all."""
    write_text(path, f"{record.model_dump_json(indent=2)}\n")


def write_table(path: Path, rows: Iterable[Sequence[object]]) -> None:
    """Write cells as CSV that Excel opens as it is and in which nothing runs."""
    output = StringIO()
    csv.writer(output).writerows([_plain(cell) for cell in row] for row in rows)
    write_text(path, f"\ufeff{output.getvalue()}")


def _plain(cell: object) -> object:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell
