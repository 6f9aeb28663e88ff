"""Databases, a browser, a model server; and no silent skips where CI promises to run all."""

import logging
import os
import shutil
import uuid
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path

import hypothesis
import pytest
import structlog
from playwright.async_api import Browser, async_playwright
from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import create_async_engine

from bot.playground.client import Customer
from db.database import Database, open_database, upgrade
from tests.browsing import FLAGS
from tests.load.postgres import postgres_server
from tests.modelserver import ModelServer
from tests.playground import Running, running
from tests.sounds import encode, tone

# Machines are noisy: a slow example is no failure.
hypothesis.settings.register_profile("steady", deadline=None)
hypothesis.settings.load_profile("steady")

# What may be absent for good reason, also in CI; any other skip fails there.
ABSENT_FOR_GOOD = ("shared data",)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and os.environ.get("CI") and isinstance(report.longrepr, tuple):
        reason = report.longrepr[2]
        if not any(word in reason for word in ABSENT_FOR_GOOD):
            report.outcome = "failed"
            report.longrepr = f"{item.nodeid} was skipped in CI: {reason}"
    return report


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A real Postgres: TEST_DATABASE_URL, or one from a wheel in a folder of its own."""
    if given := os.environ.get("TEST_DATABASE_URL"):
        yield given
        return
    with postgres_server() as server:
        yield server.get_uri()


@pytest.fixture(params=["sqlite", "postgres"])
async def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """An empty database of each kind, not migrated."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'test.db'}"
        return
    server = make_url(request.getfixturevalue("postgres_url"))
    name = f"test_{uuid.uuid4().hex}"
    await _execute(server.render_as_string(hide_password=False), f'CREATE DATABASE "{name}"')
    yield server.set(database=name).render_as_string(hide_password=False)
    await _execute(
        server.render_as_string(hide_password=False), f'DROP DATABASE "{name}" WITH (FORCE)'
    )


async def _execute(url: str, statement: str) -> None:
    asyncpg = make_url(url).set(drivername="postgresql+asyncpg")
    engine = create_async_engine(asyncpg, isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        await connection.execute(text(statement))
    await engine.dispose()


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A migrated database."""
    database = open_database(database_url)
    await upgrade(database)
    yield database
    await database.close()


@pytest.fixture
async def model() -> AsyncIterator[ModelServer]:
    """A model server under the test's control."""
    async with ModelServer().serve() as server:
        yield server


@pytest.fixture
async def server() -> AsyncIterator[Running]:
    """A playground without a bot."""
    async with running() as server:
        yield server


@pytest.fixture
async def customer(server: Running) -> Customer:
    """A customer who wrote to the bot, so that the bot may answer."""
    customer = server.playground.customer(1001)
    await customer.send("안녕하세요")
    return customer


@pytest.fixture
def restored_logging() -> Iterator[None]:
    """The log as it was, after a test that configures it."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium that is there (CHROMIUM names another)."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if not found:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")
    return found


@pytest.fixture
async def browser(chromium: str, tmp_path: Path) -> AsyncIterator[Browser]:
    """A browser whose microphone plays a file."""
    sound = tmp_path / "microphone.wav"
    sound.write_bytes(encode(tone(5.0), "wav", rate=48_000))
    heard = f"--use-file-for-fake-audio-capture={sound}"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=[*FLAGS, heard])
        yield browser
        await browser.close()
