"""How soon are conversations listed, found and read? `make bench` runs this too, or

    python -m tests.load.review [--messages 1000000] [--json FILE]

Conversations of 20 messages each, made of the starter knowledge's questions and answers by chance,
are put into an empty SQLite file and an empty Postgres, and indexed as the admins' process does
it. Each query is then run many times, with other words, days and places in between.
"""

import argparse
import asyncio
import json
import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from sqlalchemy import Connection, func, select

from db import conversations, search
from db.conversations import Cursor, Filter
from db.database import Database, open_database, upgrade
from db.models import Conversation, Kind, Way, utc_now
from inference.knowledge import starter_path
from inference.knowledge.files import load
from tests.load.postgres import postgres_server

_IN_EACH = 20  # messages of a conversation
_DAYS = 730
_LIMIT_MS = 100.0
_RARE = "구들장판지"  # said in ten conversations
_TRIES = 40
_AT_ONCE = 200  # conversations indexed in one transaction
_WAYS = {
    Way.STORED: 60,
    Way.MODEL: 24,
    Way.FALLBACK: 5,
    Way.UNSURE: 8,
    Way.DECLINED: 2.98,
    Way.FAILED: 0.02,
}
_TABLES = {
    "customers": ("id", "telegram_id", "name", "created_at"),
    "conversations": ("id", "customer_id", "chat_id", "started_at", "ended_at", "last_at"),
    "messages": (
        *("id", "conversation_id", "bot_id", "chat_id", "update_id", "kind", "text"),
        *("received_at", "done_at"),
    ),
    "answers": (
        *("id", "message_id", "created_at", "text", "keyboard", "sent_ids", "sent_at", "way"),
        *("stopped", "sources", "confidence"),
    ),
    "recordings": ("message_id", "file_id", "seconds"),
    "estimates": (
        *("id", "bot_id", "chat_id", "customer_id", "state", "form", "created_at", "updated_at"),
    ),
    "feedback": ("id", "answer_id", "customer_id", "value", "created_at"),
    "reviews": ("answer_id", "admin_id", "claimed_until", "reviewed_at", "labels"),
    "handoffs": ("id", "bot_id", "chat_id", "customer_id", "asked_at"),
}
Rows = dict[str, list[tuple[Any, ...]]]


@dataclass
class Query:
    """The times of one kind of query on one database, in ms, and how many it found on average."""

    database: str
    name: str
    found: float
    p50: float
    p95: float


@dataclass
class Result:
    """All that a run measured."""

    messages: int
    filling_s: dict[str, float]
    indexing_s: dict[str, float]
    megabytes: dict[str, tuple[float, float]]  # before and after indexing
    queries: list[Query]


def make(messages: int) -> Iterator[Rows]:
    """Yield rows for every table, some conversations' at a time; the same for the same number."""
    chance = random.Random(1)
    entries = load(starter_path())
    ways, weights = list(_WAYS), list(_WAYS.values())
    count = messages // _IN_EACH
    begin = utc_now() - timedelta(days=_DAYS)
    step = timedelta(days=_DAYS) / count
    rare = set(range(count // 20, count, count // 10))
    rows: Rows = {name: [] for name in _TABLES}
    for number in range(1, count + 1):
        started = at = begin + step * number
        customer = number if number <= count // 2 else chance.randint(1, count // 2)
        if number == customer:
            rows["customers"].append((customer, 1_000_000 + customer, f"손님 {customer}", at))
        chat = 1_000_000 + customer
        has_estimate = chance.random() < 0.1
        for place in range(_IN_EACH):
            id_ = (number - 1) * _IN_EACH + place + 1
            at += timedelta(seconds=chance.randint(20, 300))
            entry = chance.choice(entries)
            text = chance.choice(entry.questions)
            if place == 3 and number in rare:
                text += f" {_RARE}도 있나요?"
            is_voice = chance.random() < 0.01
            kind = Kind.VOICE if is_voice else Kind.TEXT
            rows["messages"].append((id_, number, 1, chat, id_, str(kind), text, at, at))
            (way,) = chance.choices(ways, weights)
            answer = chance.choice(entry.answers)
            rows["answers"].append(
                (id_, id_, at, answer, "[]", "[]", at, str(way), False, "[]", 0.9)
            )
            if is_voice:
                rows["recordings"].append((id_, "file", 3))
            if place == 5 and has_estimate:
                rows["estimates"].append((id_, 1, chat, customer, "done", "{}", at, at))
            if chance.random() < 0.05:
                rows["feedback"].append((id_, id_, customer, chance.choice((1, 1, 1, -1)), at))
            if chance.random() < 0.02:
                label = "rare" if chance.random() < 0.002 else chance.choice(("wrong", "rude"))
                rows["reviews"].append((id_, 1, at, at, json.dumps([label])))
        is_last = number > count - 30
        ended = None if is_last else at
        rows["conversations"].append((number, customer, chat, started, ended, at))
        if is_last and number % 3 == 0:
            rows["handoffs"].append((number, 1, chat, customer, at))
        if number % 1_000 == 0 or number == count:
            yield rows
            rows = {name: [] for name in _TABLES}


def fill_sqlite(path: Path, parts: Iterator[Rows]) -> None:
    """Put rows into a migrated file."""

    def plain(value: Any) -> Any:  # noqa: ANN401 - any column's
        if isinstance(value, datetime):
            return value.strftime("%Y-%m-%d %H:%M:%S.%f")
        return value

    with sqlite3.connect(path) as connection:
        for rows in parts:
            for name, columns in _TABLES.items():
                marks = ", ".join("?" * len(columns))
                connection.executemany(
                    f"INSERT INTO {name} ({', '.join(columns)}) VALUES ({marks})",  # noqa: S608 - our own names
                    (tuple(map(plain, row)) for row in rows[name]),
                )
    connection.close()


async def fill_postgres(url: str, parts: Iterator[Rows]) -> None:
    """Put rows into a migrated database."""
    connection = await asyncpg.connect(url)
    for rows in parts:
        for name, columns in _TABLES.items():
            await connection.copy_records_to_table(name, records=rows[name], columns=columns)
    await connection.close()


async def settle(url: str) -> None:
    """Let Postgres tidy up after so many rows at once, as it does by itself in time."""
    connection = await asyncpg.connect(url)
    await connection.execute("VACUUM ANALYZE")
    await connection.close()


async def index(database: Database, progress: Progress, name: str) -> float:
    """Index everything and return the seconds it took."""
    total = await database.run(
        lambda c: c.scalar(select(func.count()).select_from(Conversation).where(Conversation.stale))
    )
    task = progress.add_task(f"{name}: indexing", total=total)
    begun = time.perf_counter()
    while done := await database.run(lambda c: search.catch_up(c, _AT_ONCE)):
        progress.advance(task, done)
    return time.perf_counter() - begun


def queries(messages: int, places: list[Cursor]) -> dict[str, Callable[[Connection], int]]:
    """Return what is measured: each returns how much it found."""
    today = utc_now().date()
    count = messages // _IN_EACH

    def day() -> date:
        return today - timedelta(days=random.randint(30, _DAYS))

    def listing(make: Callable[[], Filter], *, deep: bool = False) -> Callable[[Connection], int]:
        def run(connection: Connection) -> int:
            before = random.choice(places) if deep else None
            return len(conversations.find(connection, make(), before=before).conversations)

        return run

    def with_day() -> Filter:
        since = day()
        return Filter(since=since, until=since + timedelta(days=7))

    def long_ago() -> Filter:
        return Filter(until=today - timedelta(days=_DAYS - 2))

    def reading(connection: Connection) -> int:
        return len(conversations.read(connection, random.randint(1, count)))

    filters: dict[str, Callable[[], Filter]] = {
        "a customer": lambda: Filter(customer_id=random.randint(1, count // 2)),
        "a week": with_day,
        "the first two days": long_ago,
        "voice": lambda: Filter(has="voice"),
        "estimate": lambda: Filter(has="estimate"),
        "👍": lambda: Filter(rating=1),
        "👎": lambda: Filter(rating=-1),
        "reviewed": lambda: Filter(reviewed=True),
        "not reviewed": lambda: Filter(reviewed=False),
        "a label": lambda: Filter(label="wrong"),
        "a rare label": lambda: Filter(label="rare"),
        "unsure": lambda: Filter(unsure=True),
        "failed (rare)": lambda: Filter(failed=True),
        "waiting": lambda: Filter(waiting=True),
        "all at once (nothing)": lambda: Filter(
            has="voice", rating=-1, reviewed=True, failed=True, unsure=True
        ),
        "search: 벽지": lambda: Filter(text="벽지"),
        "search: a letter": lambda: Filter(text=random.choice("벽풀칠뷁")),
        "search: rare": lambda: Filter(text=_RARE),
        "search: nowhere": lambda: Filter(text="도배나벽지"),
        "search: two words": lambda: Filter(text="곰팡 결로"),
        "search: a sentence": lambda: Filter(text="벽지에 곰팡이가 생기면 어떻게 해야 하나요?"),
        "search: 벽지, 👎, voice": lambda: Filter(text="벽지", rating=-1, has="voice"),
        "search: 벽지, failed": lambda: Filter(text="벽지", failed=True),
        "search: 곰팡, a label": lambda: Filter(text="곰팡", label="rude"),
        "search: 벽지, two years ago": lambda: Filter(
            text="벽지", until=today - timedelta(days=_DAYS - 2)
        ),
    }
    return {
        "the first page": listing(Filter),
        "a deep page": listing(Filter, deep=True),
        **{name: listing(make) for name, make in filters.items()},
        "search: 벽지, deep": listing(lambda: Filter(text="벽지"), deep=True),
        "one conversation": reading,
    }


async def measure(database: Database, name: str, messages: int, progress: Progress) -> list[Query]:
    """Run each query many times."""
    places = await database.run(
        lambda c: [
            Cursor(*row)
            for row in c.execute(
                select(Conversation.last_at, Conversation.id).where(Conversation.id % 97 == 0)
            )
        ]
    )
    result = []
    for what, work in progress.track(
        queries(messages, places).items(), description=f"{name}: asking"
    ):
        times, found = [], []
        for _ in range(_TRIES):
            begun = time.perf_counter()
            found.append(await database.run(work))
            times.append(1e3 * (time.perf_counter() - begun))
        ranks = statistics.quantiles(times, n=100, method="inclusive")
        result.append(Query(name, what, statistics.mean(found), ranks[49], ranks[94]))
    return result


async def run(messages: int) -> Result:
    """Fill, index and ask both databases."""
    result = Result(messages, {}, {}, {}, [])
    with (
        tempfile.TemporaryDirectory(prefix="review") as folder,
        postgres_server() as server,
        Progress(console=Console(stderr=True)) as progress,
    ):
        path = Path(folder) / "review.db"
        for name, url in (("SQLite", f"sqlite:///{path}"), ("Postgres", server.get_uri())):
            database = open_database(url)
            await upgrade(database)
            parts = progress.track(
                make(messages),
                total=-(-messages // _IN_EACH // 1_000),
                description=f"{name}: filling",
            )
            begun = time.perf_counter()
            if name == "SQLite":
                fill_sqlite(path, iter(parts))
            else:
                await fill_postgres(url, iter(parts))
            result.filling_s[name] = time.perf_counter() - begun
            before = await size(database)
            result.indexing_s[name] = await index(database, progress, name)
            if name == "Postgres":
                await settle(url)
            result.megabytes[name] = before, await size(database)
            result.queries += await measure(database, name, messages, progress)
            await database.close()
    return result


async def size(database: Database) -> float:
    """Return the megabytes of a database."""

    def work(connection: Connection) -> float:
        if connection.dialect.name == "postgresql":
            statement = "SELECT pg_database_size(current_database())"
        else:
            statement = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"
        return float(connection.exec_driver_sql(statement).scalar_one()) / 1e6

    return await database.run(work)


def show(result: Result) -> None:
    """Print the times, and what was slow."""
    console = Console(width=100)
    for name, seconds in result.indexing_s.items():
        before, after = result.megabytes[name]
        console.print(
            f"{name}: {result.messages:,} messages filled in {result.filling_s[name]:.0f} s "
            f"({before:.0f} MB), indexed in {seconds:.0f} s (+{after - before:.0f} MB)"
        )
    table = Table(title="queries (ms)")
    for heading in ("database", "query", "found", "p50", "p95"):
        table.add_column(heading, justify="right")
    for q in result.queries:
        table.add_row(q.database, q.name, f"{q.found:.1f}", f"{q.p50:.1f}", f"{q.p95:.1f}")
    console.print(table)
    slow = [q for q in result.queries if q.p95 > _LIMIT_MS]
    console.print(f"over {_LIMIT_MS:.0f} ms: {len(slow)} of {len(result.queries)}")


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--json", type=Path, help="also write the figures to a file")
    given = parser.parse_args()
    result = asyncio.run(run(given.messages))
    show(result)
    if given.json:
        given.json.write_text(
            json.dumps(asdict(result), indent=1, ensure_ascii=False), encoding="utf-8"
        )


if __name__ == "__main__":
    main()
