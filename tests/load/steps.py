"""How soon does an estimate's step answer? `make bench` runs this too, or

    python -m tests.load.steps [--quick] [--json FILE]

Customers go the longest way through the form by words, at human pace, on SQLite and Postgres. A
step's time is from Telegram's having the customer's message to its having the bot's, with the
calls to the local Telegram inside; the baseline is /help on the same bot in the same run: a turn
that keeps and sends a fixed text. The last step's quote is drawn while others go on.
"""

import argparse
import asyncio
import json
import random
import statistics
import tempfile
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bot.playground.records import Json
from tests.load.crowd import Crowd, gather_crowd
from tests.load.fleet import Place
from tests.load.postgres import postgres_server
from tests.modelserver import ModelServer

WAY = (
    *("/estimate", "합지랑 실크 섞어서요", "장폭", "일반이요", "빌라예요", "스물네 평이요"),
    *("실평수요", "거실 천장만요", "전체", "뜯어 주세요", "살고 있어요", "곰팡이 있어요"),
    *("없어요", "서울 마포구 망원동이요", "다음 달 15일쯤이요"),
)
_PAUSE_S = (0.5, 1.5)  # between an answer and the next
_LIMIT_MS = 50.0
_UNLIMITED = {"TELEGRAM_CALLS_A_SECOND": "100000"}


@dataclass
class Steps:
    """The times of one kind of turn under one load, in ms."""

    bot: str
    customers: int
    kind: str
    count: int
    p50: float
    p95: float


async def _answer_s(crowd: Crowd, chat_id: int, text: str) -> float:
    """Say something and return the seconds until the bot's first message after it."""
    loop = asyncio.get_running_loop()
    answered: asyncio.Future[float] = loop.create_future()
    said = 0

    def hear(chat: int, event: str, view: Json) -> None:
        is_answer = event == "message" and view["from"] == "bot" and view["id"] > said
        if chat == chat_id and is_answer and not answered.done():
            answered.set_result(loop.time())

    crowd.listeners.append(hear)
    begun = loop.time()
    said = crowd.say(chat_id, text)
    try:
        async with asyncio.timeout(60):
            return await answered - begun
    finally:
        crowd.listeners.remove(hear)


async def _go(crowd: Crowd, chat_id: int, texts: tuple[str, ...]) -> list[float]:
    times = []
    for text in texts:
        await asyncio.sleep(random.uniform(*_PAUSE_S))
        times.append(await _answer_s(crowd, chat_id, text))
    return times


async def measure(crowd: Crowd, bot: str, chats: range) -> list[Steps]:
    """Let each customer ask for help as often as the form has steps, then fill the form."""
    result = []
    for kind, texts in (("/help", ("/help",) * len(WAY)), ("estimate", WAY)):
        runs = await asyncio.gather(*(_go(crowd, chat, texts) for chat in chats))
        times = [1e3 * t for run in runs for t in run]
        ranks = statistics.quantiles(times, n=100, method="inclusive")
        result.append(Steps(bot, len(chats), kind, len(times), ranks[49], ranks[94]))
    return result


async def run(*, quick: bool) -> list[Steps]:
    """Measure everything."""
    folder = Path(tempfile.mkdtemp(prefix="steps"))
    model = ModelServer(keep_requests=False)
    results: list[Steps] = []
    with postgres_server() as server, Console(stderr=True).status("starting") as status:
        for name, url in (
            ("SQLite", f"sqlite:///{folder / 'steps.db'}"),
            ("Postgres", server.get_uri()),
        ):
            async with AsyncExitStack() as stack:
                await stack.enter_async_context(model.serve())
                crowd = await stack.enter_async_context(gather_crowd())
                process = Place(folder, crowd.url, model.url, url, _UNLIMITED).polling()
                await process.start()
                stack.push_async_callback(process.stop)
                await _answer_s(crowd, 1, "/help")
                chat = 1_000
                for customers in (1, 20) if quick else (1, 20, 100):
                    status.update(f"{name}: {customers} customers at once")
                    results += await measure(crowd, name, range(chat, chat + customers))
                    chat += customers
    return results


def show(results: list[Steps]) -> None:
    """Print the times, and each form's ratio to the baseline beside it."""
    table = Table(title="a step's answer, Telegram's own time included (ms)")
    for heading in ("bot", "customers", "turn", "count", "p50", "p95", "p95 to /help"):
        table.add_column(heading, justify="right")
    baseline = 0.0
    for s in results:
        baseline = s.p95 if s.kind == "/help" else baseline
        table.add_row(
            *(s.bot, str(s.customers), s.kind, str(s.count), f"{s.p50:.1f}", f"{s.p95:.1f}"),
            f"{s.p95 / baseline:.2f}",
        )
    console = Console(width=100)
    console.print(table)
    worst = max(s.p95 for s in results if s.kind == "estimate" and s.customers <= 20)
    console.print(
        f"steps of up to 20 customers at once: p95 {worst:.1f} ms (limit {_LIMIT_MS:.0f})"
    )


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="no 100 customers")
    parser.add_argument("--json", type=Path, help="also write the figures to a file")
    given = parser.parse_args()
    results = asyncio.run(run(quick=given.quick))
    show(results)
    if given.json:
        given.json.write_text(json.dumps([asdict(s) for s in results], indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
