"""A process of its own for heavy work: in the bot's, on whatever thread, customers would wait.

The bot's end and the helper's. Both sides of a request are a line of JSON and bytes. The helper
ends when its standard input does, so with the bot, however that ends.
"""

import asyncio
import json
import os
import sys
from collections.abc import Callable
from typing import Any

import structlog

log = structlog.get_logger()

Order = dict[str, Any]

_LENGTH_BYTES = 8
_NICENESS = 10  # answers come before pictures and sound
_TRIES = 2
_LINE_LIMIT = 1 << 20  # bytes of a line of JSON


class HelperError(Exception):
    """The process died more than once."""


class HelperTimeoutError(HelperError):
    """The process took too long."""


class Helper:
    """The bot's end. The process starts with the first order; it does one at a time."""

    def __init__(self, module: str, *, limit_s: float) -> None:
        self._command = (sys.executable, "-m", module)
        self._limit_s = limit_s
        self._process: asyncio.subprocess.Process | None = None
        self._lock = asyncio.Lock()
        self._work: set[asyncio.Task[tuple[Order, bytes]]] = set()

    async def ask(self, order: Order, content: bytes = b"") -> tuple[Order, bytes]:
        """Return what the process makes of an order. Raises `HelperError`.

        Cancelled, it leaves the process to finish: half an answer would be taken for the next
        one's, and a new process would load all that this one has.
        """
        work = asyncio.create_task(self._insist(order, content))
        self._work.add(work)
        work.add_done_callback(self._forget)
        return await asyncio.shield(work)

    def _forget(self, work: asyncio.Task[tuple[Order, bytes]]) -> None:
        self._work.discard(work)
        if not work.cancelled():
            work.exception()  # nobody may be left to hear of it

    async def _insist(self, order: Order, content: bytes) -> tuple[Order, bytes]:
        async with self._lock:
            for _ in range(_TRIES):
                try:
                    async with asyncio.timeout(self._limit_s):
                        return await self._ask(order, content)
                except TimeoutError as error:  # another try would take as long
                    await self._end()
                    raise HelperTimeoutError from error
                except (OSError, EOFError, ValueError) as error:
                    log.warning(
                        "helper_failed", helper=self._command[2], error=type(error).__name__
                    )
                    await self._end()
                except asyncio.CancelledError:  # what is left in the pipe is nobody else's
                    await self._end()
                    raise
        raise HelperError

    async def _ask(self, order: Order, content: bytes) -> tuple[Order, bytes]:
        process = self._process = self._process or await self._start()
        assert process.stdin  # noqa: S101 - asked for in `_start`
        assert process.stdout  # noqa: S101 - the same
        process.stdin.writelines([json.dumps(order).encode(), b"\n", _length(content), content])
        await process.stdin.drain()
        answer: Order = json.loads(await process.stdout.readuntil(b"\n"))
        length = int.from_bytes(await process.stdout.readexactly(_LENGTH_BYTES), "big")
        return answer, await process.stdout.readexactly(length)

    async def _start(self) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,  # a traceback may show what a customer wrote
            start_new_session=True,  # Ctrl-C is the bot's to answer
            limit=_LINE_LIMIT,
        )

    async def close(self) -> None:
        """End the process, whatever it is doing."""
        for work in self._work:
            work.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)
        await self._end()

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.returncode is None:
            process.kill()
        await process.communicate()


def serve(work: Callable[[Order, bytes], tuple[Order, bytes]]) -> None:
    """Do what is ordered on standard input until that ends: the helper's end."""
    os.nice(_NICENESS)
    orders, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    while line := orders.readline():
        content = orders.read(int.from_bytes(orders.read(_LENGTH_BYTES), "big"))
        answer, made = work(json.loads(line), content)
        answers.writelines([json.dumps(answer).encode(), b"\n", _length(made), made])
        answers.flush()


def _length(content: bytes) -> bytes:
    return len(content).to_bytes(_LENGTH_BYTES, "big")
