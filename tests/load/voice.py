"""Do text chats wait for sound? `make bench` runs this too, or

    python -m tests.load.voice [--notes N]

Customers write at a steady pace, once alone and once while others send voice notes all at the
same moment; the time is from a text to the bot's first message after it. The notes are spoken by
espeak-ng: they take as long to hear as a person's, and say nothing about how well.
"""

import argparse
import asyncio
import statistics
import tempfile
import time

from rich.console import Console
from rich.progress import track
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


async def _unfinished(shop: Shop) -> int:
    waiting = select(func.count()).where(Message.done_at.is_(None), Message.kind == "voice")
    ((count,),) = await shop.rows(waiting)
    return int(count)


async def measure(notes: int, least: int) -> dict[str, float]:
    """Return the seconds of both runs, and how long the notes took."""
    note = EspeakVoice().speak("실크 벽지 이음매가 벌어졌는데 어떻게 해야 하나요")
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/voice.db"
        settings = {"answer_policy": "careful", "messages_a_minute": 0}
        async with ModelServer().serve() as model, open_shop(url, model, **settings) as shop:
            await shop.customer(1).voice(note)  # loads the recogniser
            await asyncio.sleep(1)
            while await _unfinished(shop):
                await asyncio.sleep(0.2)
            over = asyncio.Event()
            over.set()
            alone = await _ask_all(shop, 10_000, over, least)
            over.clear()
            writing = asyncio.create_task(_ask_all(shop, 20_000, over, least))
            began = time.perf_counter()
            await asyncio.gather(*(shop.customer(300 + n).voice(note) for n in range(notes)))
            for _ in track(range(notes), "voice notes", transient=True):
                left = await _unfinished(shop)
                while left and await _unfinished(shop) >= left:
                    await asyncio.sleep(0.1)
            while await _unfinished(shop):
                await asyncio.sleep(0.1)
            heard_s = time.perf_counter() - began
            over.set()
            beside = await writing
    return {
        "alone_p50_ms": 1000 * statistics.median(alone),
        "alone_p95_ms": 1000 * statistics.quantiles(alone, n=20)[-1],
        "beside_p50_ms": 1000 * statistics.median(beside),
        "beside_p95_ms": 1000 * statistics.quantiles(beside, n=20)[-1],
        "note_s": heard_s / notes,
        "texts": len(alone) + len(beside),
    }


def main() -> None:
    """Print both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--notes", type=int, default=20)
    parser.add_argument("--least", type=int, default=15, help="texts of each writer")
    arguments = parser.parse_args()
    logs.configure("console", level=logs.QUIET)
    figures = asyncio.run(measure(arguments.notes, arguments.least))
    Console().print(
        f"first text p50 / p95: alone {figures['alone_p50_ms']:.0f} / "
        f"{figures['alone_p95_ms']:.0f} ms, beside {arguments.notes} voice notes "
        f"{figures['beside_p50_ms']:.0f} / {figures['beside_p95_ms']:.0f} ms "
        f"({figures['beside_p50_ms'] / figures['alone_p50_ms']:.2f} of alone); "
        f"a note took {figures['note_s']:.2f} s"
    )


if __name__ == "__main__":
    main()
