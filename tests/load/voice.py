"""Do text chats wait for sound? `make bench` runs this too, or

    python -m tests.load.voice [--notes N] [--note FILE]

Customers write at a steady pace: alone, while others send voice notes all at the same moment, and
while others send as many texts. The time is from a text to the bot's first message after it. The
note is FILE, a person's words, or else espeak-ng's: those take as long to hear, but are refused,
so that nothing in them is put right.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from sqlalchemy import func, select

from bot import logs
from db.models import Message
from inference.speech.synthesis import EspeakVoice
from tests.modelserver import ModelServer
from tests.shop import Shop, open_shop

_TEXTS = (
    "도배 후 환기는 어떻게 하나요?",
    "벽지에 곰팡이가 생겼는데 어떻게 해야 하나요?",
    "합지와 실크 벽지는 뭐가 다른가요?",
    "벽지 이음매가 벌어졌어요",
)
_WRITERS, _PAUSE_S = 4, 0.5
_IS_WAITING = Message.done_at.is_(None) & (Message.kind == "voice")


def speak() -> bytes:
    """Return a note as OGG/Opus."""
    return EspeakVoice().speak("실크 벽지 이음매가 벌어졌는데 어떻게 해야 하나요")


async def _write(shop: Shop, first_id: int, until: asyncio.Event, least: int) -> list[float]:
    """Ask at a steady pace, each time as somebody else; return the seconds to each first answer."""
    times: list[float] = []
    while len(times) < least or not until.is_set():
        customer = shop.customer(first_id + len(times))
        began = time.perf_counter()
        sent = await customer.send(_TEXTS[len(times) % len(_TEXTS)])
        await customer.wait_for(1, after=sent.id, timeout=60)
        times.append(time.perf_counter() - began)
        await asyncio.sleep(_PAUSE_S)
    return times


async def _ask_all(shop: Shop, first_id: int, until: asyncio.Event, least: int) -> list[float]:
    every = await asyncio.gather(
        *(_write(shop, first_id + 1000 * n, until, least) for n in range(_WRITERS))
    )
    return [one for times in every for one in times]


async def _finish(shop: Shop) -> None:
    while True:
        ((left,),) = await shop.rows(select(func.count()).where(Message.done_at.is_(None)))
        if not left:
            return
        await asyncio.sleep(0.2)


async def measure(note: bytes, notes: int, least: int) -> dict[str, list[float]]:
    """Return the seconds to a text's first answer: alone, beside as many texts that come at once,
    and beside the notes; and how long a note took.
    """
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/voice.db"
        settings: dict[str, Any] = {"answer_policy": "careful", "messages_a_minute": 0}
        async with ModelServer().serve() as model, open_shop(url, model, **settings) as shop:
            await shop.customer(1).voice(note)  # loads the recogniser
            await asyncio.sleep(1)
            await _finish(shop)
            over = asyncio.Event()
            over.set()
            await _ask_all(shop, 10_000, over, len(_TEXTS))  # what is asked again is remembered
            times = {"alone": await _ask_all(shop, 20_000, over, least)}

            writing = asyncio.create_task(_ask_all(shop, 30_000, over, least))
            await asyncio.gather(*(shop.customer(200 + n).send(_TEXTS[0]) for n in range(notes)))
            times["beside texts"] = await writing

            over.clear()
            writing = asyncio.create_task(_ask_all(shop, 40_000, over, least))
            began = time.perf_counter()
            await asyncio.gather(*(shop.customer(300 + n).voice(note) for n in range(notes)))
            await asyncio.sleep(_PAUSE_S)
            while await shop.rows(select(Message).where(_IS_WAITING).limit(1)):
                await asyncio.sleep(0.2)
            times["a note"] = [(time.perf_counter() - began) / notes]
            over.set()
            times["beside notes"] = await writing
    return times


def main() -> None:
    """Print all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--note", type=Path, help="a recording; else espeak-ng's")
    parser.add_argument("--notes", type=int, default=20)
    parser.add_argument("--least", type=int, default=15, help="texts of each writer")
    arguments = parser.parse_args()
    logs.configure("console", level=logs.QUIET)
    note = arguments.note.read_bytes() if arguments.note else speak()
    console = Console()
    with console.status("voice"):
        times = asyncio.run(measure(note, arguments.notes, arguments.least))
    alone = statistics.median(times["alone"])
    for name in ("alone", "beside texts", "beside notes"):
        middle, late = statistics.median(times[name]), statistics.quantiles(times[name], n=20)[-1]
        console.print(
            f"first answer {name}: p50 {1000 * middle:.0f} ms ({middle / alone:.2f} of alone), "
            f"p95 {1000 * late:.0f} ms"
        )
    console.print(f"a note took {times['a note'][0]:.2f} s")


if __name__ == "__main__":
    main()
