"""`deepbot conversations export`: answers to learn from, with personal data masked.

A line of JSONL is an example of a conversation for supervised training (`messages`) and, where a
reviewer corrected the answer, also one of a preference (`prompt`, `chosen`, `rejected`), both in
the form that TRL takes: https://huggingface.co/docs/trl/dataset_formats. The system prompt and
the facts are left to training, which builds them as serving does (`inference/prompts.py`).
"""

import codecs
import csv
import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, BinaryIO, Literal

from sqlalchemy import Connection

from bot.app import open_database
from bot.errors import BadInputError, OperatorError
from bot.masking import mask
from bot.settings import Settings
from db import access, exports, queries
from db.database import Database
from db.exports import Answered
from db.queries import KOREA, Exchange

Say = Callable[[str], None]
Format = Literal["jsonl", "csv"]
Record = dict[str, Any]

STDOUT = Path("-")
_COMMAND_LINE = 0  # in place of an admin
_PAGE = 200  # answers to a transaction: a bot on the same SQLite file waits for its end
_PAST_EXCHANGES = 8  # as many as a turn looks back
_TOLD_EVERY = 10_000

_COLUMNS = (
    *("messages", "conversation", "answer", "way", "sources", "rating", "verdict", "labels"),
    *("prompt", "chosen", "rejected"),
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what makes a spreadsheet run a cell


@dataclass(frozen=True, slots=True)
class Selection:
    """Which answers are exported; the days are Korean, and both of them counted in."""

    since: date | None = None
    until: date | None = None
    reviewed_only: bool = False
    raw: bool = False

    def describe(self) -> str:
        """Return what the log says of it."""
        days = f"{self.since or ''}..{self.until or ''}"
        kinds = ["raw" if self.raw else "masked", *["reviewed"] * self.reviewed_only]
        return " ".join(["conversations", days, *kinds])


def read_day(text: str) -> date:
    """Return the day that a text like 2026-11-01 is. Raises `BadInputError`."""
    try:
        day = date.fromisoformat(text)
        _begin(day), _begin(day + timedelta(days=1))  # as far as time goes
        return day
    except (ValueError, OverflowError) as error:
        msg = f"날짜는 2026-11-01처럼 적어 주세요: {text}"
        raise BadInputError(msg) from error


async def export(
    settings: Settings, path: Path, form: Format, selection: Selection, *, say: Say
) -> None:
    """Write the selected answers to a file, or to standard output; the log knows of it first."""
    async with open_database(settings, beside=True) as database:
        await database.run(lambda c: access.note(c, _COMMAND_LINE, "export", selection.describe()))
        written = 0
        with _opened(path) as file:
            write = _writer(form, file)
            async for record in read_records(database, selection):
                write(record)
                written += 1
                if written % _TOLD_EVERY == 0:
                    say(f"{written:,}개째 적고 있어요 …")
    say(
        f"답변 {written:,}개를 적었어요."
        + (" 개인정보를 가리지 않았어요!" if selection.raw else "")
    )


async def read_records(database: Database, selection: Selection) -> AsyncIterator[Record]:
    """Return the selected answers as records, a page of them in memory at a time."""
    last = 0
    while True:
        found = await database.insist(partial(_read, after=last, selection=selection))
        for answered, past, names in found:
            yield _record(answered, past, names, raw=selection.raw)
        if len(found) < _PAGE:
            return
        last = found[-1][0].id


def _read(
    connection: Connection, *, after: int, selection: Selection
) -> list[tuple[Answered, list[Exchange], frozenset[str]]]:
    """Return a page of answers, with what was said before and the customer's names."""
    found = exports.page(
        connection,
        after,
        since=_begin(selection.since) if selection.since else None,
        until=_begin(selection.until + timedelta(days=1)) if selection.until else None,
        reviewed_only=selection.reviewed_only,
        most=_PAGE,
    )
    names = exports.names(connection, {answered.customer_id for answered in found})
    return [
        (
            answered,
            queries.history(
                connection, answered.conversation_id, answered.message_id, _PAST_EXCHANGES
            ),
            frozenset(names[answered.customer_id]),
        )
        for answered in found
    ]


def _begin(day: date) -> datetime:
    return datetime.combine(day, time(), KOREA).astimezone(UTC)  # SQLite compares what is stored


@lru_cache(maxsize=10_000)  # what was said comes again as the past of what follows
def _mask(text: str, names: frozenset[str]) -> str:
    return mask(text, names=names)


def _record(
    answered: Answered, past: list[Exchange], names: frozenset[str], *, raw: bool
) -> Record:
    """Return an answer as a line of the export."""

    def said(role: str, text: str) -> dict[str, str]:
        return {"role": role, "content": text if raw else _mask(text, names)}

    prompt = [
        *(
            said(role, text)
            for exchange in past
            for role, text in (("user", exchange.question), ("assistant", exchange.answer))
        ),
        said("user", answered.question),
    ]
    given = said("assistant", answered.text)
    target = said("assistant", answered.corrected) if answered.corrected else given
    record: Record = {
        "messages": [*prompt, target],
        "conversation": answered.conversation_id,
        "answer": answered.id,
        "way": answered.way,
        "sources": [source["id"] for source in answered.sources],
        "rating": answered.rating,
        "verdict": answered.verdict,
        "labels": answered.labels or [],
    }
    if target != given:
        record |= {"prompt": prompt, "chosen": [target], "rejected": [given]}
    return record


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """Open what is written to; a file is readable by its owner alone, and whole or not there."""
    if path == STDOUT:
        try:
            yield sys.stdout.buffer
            sys.stdout.buffer.flush()
        except BrokenPipeError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for Python's own flush
            msg = "받는 쪽이 먼저 닫혀서 다 적지 못했어요."
            raise OperatorError(msg) from error
        return
    part = path.with_name(f"{path.name}.part")
    part.unlink(missing_ok=True)
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            yield file
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _writer(form: Format, file: BinaryIO) -> Callable[[Record], object]:
    """Return what writes a record to `file`."""
    if form == "jsonl":
        return lambda record: file.write(f"{to_json(record)}\n".encode())
    rows = csv.DictWriter(codecs.getwriter("utf-8-sig")(file), _COLUMNS)
    rows.writeheader()
    return lambda record: rows.writerow({name: _cell(value) for name, value in record.items()})


def _cell(value: object) -> object:
    """Return what a spreadsheet shows as it is, and never runs."""
    if isinstance(value, list):
        is_plain = all(isinstance(item, str) for item in value)
        value = " ".join(value) if is_plain else to_json(value)
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return value


def to_json(value: object) -> str:
    """Return a value as a line of JSON."""
    return json.dumps(value, ensure_ascii=False)
