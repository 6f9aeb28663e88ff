"""Units of work on SQLite (the default) or Postgres, and migrations.

A unit of work is a plain function over a connection, run in one transaction. SQLite runs them in
one thread of their own, several to a transaction where several wait, so that a turn costs a few
hops between threads and not one for each statement; Postgres runs them side by side.
"""

import asyncio
import queue
import sqlite3
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import structlog
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import create_async_engine

import migrations

log = structlog.get_logger()

T = TypeVar("T")
Work = Callable[[Connection], T]

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 5.0  # between two tries while the database is away
_MOST_TOGETHER = 100  # units of work in one SQLite transaction
_POSTGRES_POOL = 20
_MIGRATION_LOCK = 0x6465_6570  # any number of our own: replicas migrate one after another

# What passes by itself, or when an operator mends it: a lock, a full or read-only disk, a restart,
# a standby, a wrong password. By SQLite's result code (https://sqlite.org/rescode.html) and by
# Postgres's class of error (https://www.postgresql.org/docs/current/errcodes-appendix.html).
_SQLITE_PASSING = {
    *(sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY),
    *(sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN),
}
_POSTGRES_PASSING = ("08", "25", "28", "3D", "40", "53", "57")
_POSTGRES_BAD_ROW = ("22", "23")
_POSTGRES_LIMITS = {"timeout": 10, "command_timeout": 60}  # seconds: to connect, for a statement


class Database(ABC):
    """A database; errors never show parameters, which hold what customers wrote."""

    @abstractmethod
    async def run(self, work: Work[T]) -> T:
        """Run `work` in a transaction of its own and return its result.

        It may be run again from its beginning, so it has no effect but on the database.
        """

    @abstractmethod
    async def scrub(self) -> None:
        """Leave nothing of what was deleted in files of our own, as far as that is ours to do."""

    @abstractmethod
    async def close(self) -> None:
        """Close all connections."""

    async def insist(self, work: Work[T]) -> T:
        """Run `work`; while the database is away or full, wait and try again."""
        pause = _FIRST_PAUSE_S
        while True:
            try:
                return await self.run(work)
            except Exception as error:
                if not is_passing(error):
                    raise
                log.warning("database_away", error=type(error).__name__, retry_in_s=pause)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)


def is_passing(error: Exception) -> bool:
    """Return whether a failure says that the database is away, not that the work is wrong."""
    if isinstance(error, OSError | PoolTimeout):  # Python's own TimeoutError is an OSError
        return True
    if isinstance(error, DBAPIError):
        if error.connection_invalidated:
            return True
        code = getattr(error.orig, "sqlite_errorcode", None)
        if code is not None:
            return (code & 0xFF) in _SQLITE_PASSING
    return _state(error) in _POSTGRES_PASSING


def is_bad_row(error: Exception) -> bool:
    """Return whether a failure says that the values are none the database can hold."""
    if isinstance(error, ValueError | TypeError | OverflowError | IntegrityError | DataError):
        return True
    cause = getattr(getattr(error, "orig", None), "__cause__", None)
    return isinstance(cause, ValueError) or _state(error) in _POSTGRES_BAD_ROW


def _state(error: Exception) -> str:
    """Return Postgres's class of an error, empty where it is none of Postgres's."""
    return str(getattr(getattr(error, "orig", error), "sqlstate", None) or "")[:2]


def open_database(url: str) -> Database:
    """Return the database at `url`; a SQLite file's folder is made.

    Raises `sqlalchemy.exc.ArgumentError` for a URL that is none.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        if parsed.database:
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        return _SQLite(create_engine(parsed.set(drivername="sqlite"), hide_parameters=True))
    if parsed.drivername in {"postgres", "postgresql"}:
        parsed = parsed.set(drivername="postgresql+asyncpg")
    return _Postgres(parsed.render_as_string(hide_password=False))


class _Postgres(Database):
    def __init__(self, url: str) -> None:
        self._engine = create_async_engine(
            url,
            hide_parameters=True,
            pool_size=_POSTGRES_POOL,
            max_overflow=0,
            connect_args=_POSTGRES_LIMITS,
        )

    async def run(self, work: Work[T]) -> T:
        async with self._engine.begin() as connection:
            return await connection.run_sync(work)

    async def scrub(self) -> None:
        """Do nothing: Postgres vacuums when it thinks fit."""

    async def close(self) -> None:
        await self._engine.dispose()


class _Job(NamedTuple):
    work: Work[Any]
    future: asyncio.Future[Any]


class _Done(NamedTuple):
    future: asyncio.Future[Any]
    result: Any
    error: Exception | None


class _SQLite(Database):
    def __init__(self, engine: Engine) -> None:
        _configure_sqlite(engine)
        self._engine = engine
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._serve, name="sqlite", daemon=True)

    async def run(self, work: Work[T]) -> T:
        if self._closed:
            msg = "the database is closed"
            raise RuntimeError(msg)
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._thread.start()
        future: asyncio.Future[T] = self._loop.create_future()
        self._jobs.put(_Job(work, future))
        return await future

    async def scrub(self) -> None:
        await asyncio.to_thread(self._empty_log)

    def _empty_log(self) -> None:
        """Bring the write-ahead log into the file: it holds pages as they were before."""
        connection = self._engine.raw_connection()  # the pragma works outside of transactions only
        try:
            connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").close()
        finally:
            connection.close()

    async def close(self) -> None:
        self._closed = True
        if self._loop is not None:
            self._jobs.put(None)
            await asyncio.to_thread(self._thread.join)
        self._engine.dispose()

    def _serve(self) -> None:
        while True:
            job = self._jobs.get()
            jobs: list[_Job] = []
            while job is not None:
                jobs.append(job)
                if self._jobs.empty() or len(jobs) == _MOST_TOGETHER:
                    break
                job = self._jobs.get()
            if jobs and self._loop:
                self._loop.call_soon_threadsafe(_deliver, self._run(jobs))
            if job is None:
                return

    def _run(self, jobs: list[_Job]) -> list[_Done]:
        """Run jobs in one transaction; where one fails, each in one of its own."""
        try:
            with self._engine.begin() as connection:
                return [_Done(job.future, job.work(connection), None) for job in jobs]
        except Exception as error:
            if len(jobs) == 1:
                return [_Done(jobs[0].future, None, error)]
        return [done for job in jobs for done in self._run([job])]


def _deliver(done: list[_Done]) -> None:
    for future, result, error in done:
        if future.cancelled():
            continue
        if error:
            future.set_exception(error)
        else:
            future.set_result(result)


def _configure_sqlite(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: object) -> None:  # noqa: ANN401 - the driver's own
        connection.isolation_level = None  # transactions begin below, not by the driver's guess
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.execute("PRAGMA secure_delete=ON")  # what is deleted is overwritten with zeros
        cursor.execute("PRAGMA busy_timeout=10000")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A deferred transaction that reads and then writes fails at once when another has
        # written in between; taking the write lock first makes it wait its turn instead.
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.attributes["connection"] = connection
    return config


async def upgrade(database: Database, revision: str = "head") -> None:
    """Migrate the database up to `revision`."""

    def work(connection: Connection) -> None:
        if connection.dialect.name == "postgresql":
            connection.execute(text(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})"))
        command.upgrade(_config(connection), revision)

    await database.run(work)


async def downgrade(database: Database, revision: str) -> None:
    """Migrate the database down to `revision` (`base` drops every table)."""
    await database.run(lambda connection: command.downgrade(_config(connection), revision))


async def check(database: Database) -> None:
    """Raise `alembic.util.AutogenerateDiffsDetected` where database and models differ."""
    await database.run(lambda connection: command.check(_config(connection)))
