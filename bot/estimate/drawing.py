"""Draws quotes in a process of its own.

A font is taken apart in Python for half a second a quote; in the bot's own process, on whatever
thread, every other customer would wait for that. The process ends when its standard input does,
so with the bot, however that ends.
"""

import asyncio
import json
import os
import sys
from dataclasses import asdict, dataclass
from typing import Any, Literal

import structlog

from bot.estimate.pricing import Estimate

log = structlog.get_logger()

Kind = Literal["png", "pdf"]

_LENGTH_BYTES = 8
_LIMIT_S = 60.0
_NICENESS = 10  # answers come before pictures
_TRIES = 2


@dataclass(frozen=True, slots=True)
class Letterhead:
    """What a quote says beside the estimate; all but the day may be empty."""

    day: str
    number: str = ""
    shop: str = ""
    phone: str = ""


class DrawingError(Exception):
    """The process died, or took too long, more than once."""


class DrawingProcess:
    """The bot's end. The process starts with the first quote; one quote is drawn at a time."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._lock = asyncio.Lock()

    async def draw(self, kind: Kind, estimate: Estimate, head: Letterhead) -> bytes:
        """Return a quote as PNG or PDF. Raises `DrawingError`."""
        order = {"kind": kind, "estimate": estimate.model_dump(mode="json"), "head": asdict(head)}
        async with self._lock:
            for _ in range(_TRIES):
                try:
                    async with asyncio.timeout(_LIMIT_S):
                        return await self._ask(json.dumps(order).encode() + b"\n")
                except (OSError, EOFError, TimeoutError) as error:
                    log.warning("drawing_failed", error=type(error).__name__)
                    await self.close()
                except asyncio.CancelledError:  # half an answer would be taken for the next one's
                    await self.close()
                    raise
        raise DrawingError

    async def _ask(self, order: bytes) -> bytes:
        process = self._process = self._process or await _start()
        assert process.stdin  # noqa: S101 - asked for in `_start`
        assert process.stdout  # noqa: S101
        process.stdin.write(order)
        await process.stdin.drain()
        length = int.from_bytes(await process.stdout.readexactly(_LENGTH_BYTES), "big")
        return await process.stdout.readexactly(length)

    async def close(self) -> None:
        """End the process, whatever it is doing."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def _start() -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "bot.estimate.drawing"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,  # a traceback may show what a customer wrote
        start_new_session=True,  # Ctrl-C is the bot's to answer
    )


def serve() -> None:
    """Draw what is ordered, a line of JSON each, until standard input ends."""
    from bot.estimate.quote import draw_card, draw_pdf  # what the bot's process need not load

    os.nice(_NICENESS)
    for line in sys.stdin.buffer:
        order: dict[str, Any] = json.loads(line)
        draw = draw_card if order["kind"] == "png" else draw_pdf
        drawn = draw(Estimate.model_validate(order["estimate"]), Letterhead(**order["head"]))
        sys.stdout.buffer.write(len(drawn).to_bytes(_LENGTH_BYTES, "big") + drawn)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    serve()
