"""The `deepbot` command as a separate process, to be watched, killed and started again."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from bot.settings import Settings
from tests.modelserver import MODEL, ModelServer
from tests.playground import TOKEN, Running

CHECKOUT = Path(__file__).parents[1]


def environment(**changes: str) -> dict[str, str]:
    """Return this environment without its settings, with `changes`."""
    ours = {name.upper() for name in Settings.model_fields}
    kept = {name: value for name, value in os.environ.items() if name not in ours}
    return {**kept, "PYTHONPATH": str(CHECKOUT), "LISTEN": "127.0.0.1:0", **changes}


async def run(*arguments: str, cwd: Path, **changes: str) -> tuple[int, str, str]:
    """Run a command to its end and return exit code, output and errors."""
    return await run_on(b"", *arguments, cwd=cwd, **changes)


async def run_on(stdin: bytes, *arguments: str, cwd: Path, **changes: str) -> tuple[int, str, str]:
    """Run a command on what comes from standard input."""
    process = await _start(*arguments, cwd=cwd, **changes)
    async with asyncio.timeout(60):
        output, errors = await process.communicate(stdin)
    return process.returncode or 0, output.decode(), errors.decode()


@asynccontextmanager
async def started(
    *arguments: str, cwd: Path, **changes: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a command while the context is entered; it is killed at the end if it still runs."""
    process = await _start(*arguments, cwd=cwd, **changes)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
        await process.communicate()


@asynccontextmanager
async def bot_process(
    telegram: Running,
    model: ModelServer,
    database_url: str,
    cwd: Path,
    *options: str,
    **changes: str,
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run the bot on a playground, from its login on."""
    before = len(await telegram.playground.calls("getMe"))
    async with started(
        *("bot", *options),
        cwd=cwd,
        TELEGRAM_TOKEN=TOKEN,
        TELEGRAM_API_URL=telegram.url,
        MODEL_URL=model.url,
        MODEL_NAME=MODEL,
        DATABASE_URL=database_url,
        **{"ANSWER_CHECK": "off", "LOG_FORMAT": "json", **changes},
    ) as process:
        async with asyncio.timeout(30):
            while len(await telegram.playground.calls("getMe")) == before:
                assert process.returncode is None
                await asyncio.sleep(0.05)
        yield process


async def _start(*arguments: str, cwd: Path, **changes: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-W", "error", "-m", "bot.cli", *arguments),
        cwd=cwd,
        env=environment(**changes),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        # A shell's background job ignores Ctrl-C, and so would all that it starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
