"""Bot processes to be loaded and killed, and the balancer before several of them."""

import asyncio
import os
import random
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from aiohttp import web

from bot.web import WEBHOOK_PATH
from tests.modelserver import MODEL
from tests.playground import TOKEN
from tests.processes import environment

SECRET = "a-secret-of-the-load-tests"


class Process:
    """One bot process, which may be killed and started again."""

    def __init__(self, command: list[str], log: Path, **settings: str) -> None:
        self._command = command
        self._log = log
        self._environment = environment(**settings)
        self.process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """The process id."""
        assert self.process
        return self.process.pid

    async def start(self) -> None:
        """Start it; what it logs is added to its file."""
        with self._log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, *self._command, env=self._environment, stdout=log, stderr=log
            )

    def kill(self) -> None:
        """End it without any warning to it."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    async def has_died(self) -> bool:
        """Return whether it ran and has ended."""
        if self.process is None:
            return False
        with suppress(TimeoutError):
            await asyncio.wait_for(self.process.wait(), 0.05)
        return self.process.returncode is not None

    async def stop(self) -> None:
        """Ask it to end, and wait."""
        assert self.process
        with suppress(ProcessLookupError):
            self.process.terminate()
        await self.process.wait()


# What bounds a single customer would bound the test.
NO_LIMITS = {"MESSAGES_A_MINUTE": "0", "TOKENS_A_DAY": "0", "MODEL_QUEUE": "100000"}


@dataclass
class Place:
    """Where bots run: everything around them, and what is set for all of them."""

    folder: Path
    telegram_url: str
    model_url: str
    database_url: str
    settings: dict[str, str] = field(default_factory=dict)

    def polling(self) -> Process:
        """Return a bot that polls."""
        return Process(["-m", "bot.cli", "bot"], self.folder / "bot.log", **self._settings())

    def replica(self, hook: str, port: int) -> Process:
        """Return one of several bots behind a webhook."""
        webhook = {"WEBHOOK_URL": hook, "WEBHOOK_SECRET": SECRET, "LISTEN": f"127.0.0.1:{port}"}
        return Process(
            ["-m", "bot.cli", "bot", "--webhook"],
            self.folder / f"bot-{port}.log",
            **self._settings() | webhook,
        )

    def bare(self) -> Process:
        """Return the baseline."""
        return Process(["-m", "tests.load.bare"], self.folder / "bare.log", **self._settings())

    def _settings(self) -> dict[str, str]:
        return {
            "TELEGRAM_TOKEN": TOKEN,
            "TELEGRAM_API_URL": self.telegram_url,
            "MODEL_URL": self.model_url,
            "MODEL_NAME": MODEL,
            "DATABASE_URL": self.database_url,
            "ANSWER_CHECK": "off",
            "LOG_FORMAT": "json",
            **NO_LIMITS,
            **self.settings,
        }


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on now."""
    with ExitStack() as stack:
        sockets = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)
        ]
        return [s.getsockname()[1] for s in sockets]


@asynccontextmanager
async def balancing(ports: list[int]) -> AsyncIterator[str]:
    """Pass Telegram's POSTs on to any of the replicas that is there; yields the URL."""
    session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20))

    async def pass_on(request: web.Request) -> web.Response:
        body, headers = await request.read(), {"Content-Type": "application/json"}
        name = "X-Telegram-Bot-Api-Secret-Token"
        headers[name] = request.headers.get(name, "")
        for port in random.sample(ports, len(ports)):
            try:
                url = f"http://127.0.0.1:{port}{WEBHOOK_PATH}"
                async with session.post(url, data=body, headers=headers) as response:
                    if response.status != 503:
                        return web.Response(status=response.status)
            except aiohttp.ClientError:
                continue  # it may have stored the update, and died: storing twice does no harm
        return web.Response(status=502)

    app = web.Application()
    app.router.add_post(WEBHOOK_PATH, pass_on)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}{WEBHOOK_PATH}"
    finally:
        await runner.cleanup()
        await session.close()
