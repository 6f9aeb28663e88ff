"""How fast is it, beside the barest bot that streams? `make bench`, or

    python -m tests.load.bench [--quick] [--json FILE]

The bots are processes of their own; Telegram (the playground), the model server (words at fixed
times) and the customers run in this process. The baseline is `tests/load/bare.py`: a plain
python-telegram-bot handler that streams the same answers by edits, over our own model client, and
stores nothing. Figures of different machines cannot be compared; the ratios of one run can.

Questions are from a pool and were asked before, so that what they retrieve is remembered: the
baseline retrieves nothing. One line says what new questions cost.
"""

import argparse
import asyncio
import json
import random
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from tests.load.crowd import Crowd, Question, gather_crowd
from tests.load.fleet import Place, Process
from tests.load.postgres import postgres_server
from tests.modelserver import ModelServer

FIRST_S, TOKEN_S = 0.2, 0.04  # of the model with fixed timing: 25 words a second
_ANSWER = " ".join(f"낱말{n}" for n in range(49)) + " 끝."
_LONG = " ".join(f"{n}번째 문장은 서로 다릅니다." for n in range(600))
POOL = [f"벽지에 곰팡이가 {n}번 생겼는데 어떻게 해야 하나요?" for n in range(40)]
_LONG_QUESTION = "벽지에 곰팡이가 생겼는데 어떻게 해야 하나요? 긴 답을 해 주세요"
_SLOTS = 32  # conversations at once where turns a second are counted
_TURNS_A_CHAT = 6  # then another chat: Telegram's budget for one is small
_UNLIMITED = {"TELEGRAM_CALLS_A_SECOND": "100000", "MODEL_AT_ONCE": "100000"}


def reply(question: str) -> str:
    """Return the model's answer."""
    return _LONG if _LONG_QUESTION in question else _ANSWER


@dataclass
class Bot:
    """One bot under test with a Telegram of its own."""

    name: str
    crowd: Crowd
    process: Process
    next_chat: int = 1_000

    def new_chats(self, count: int) -> range:
        """Return chats that nobody has used."""
        self.next_chat += count
        return range(self.next_chat - count, self.next_chat)


@dataclass
class Sample:
    """What one bot did under one load. Times in seconds, CPU in seconds, memory in bytes."""

    bot: str
    chats: int
    asked: int
    complete: int
    first_p50: float
    first_p95: float
    final_p50: float
    final_p95: float
    calls_an_answer: float
    cpu_ms_an_answer: float
    kib_a_chat: float
    turns_a_second: float


async def measure(
    bot: Bot, chats: int, talk: Callable[[], "list[asyncio.Task[list[Question]]]"]
) -> Sample:
    """Let customers talk, and look at the bot meanwhile."""
    process = psutil.Process(bot.process.pid)
    before, memory, calls = process.cpu_times(), process.memory_info().rss, bot.crowd.calls
    started = time.perf_counter()
    questions = [q for asked in await asyncio.gather(*talk()) for q in asked]
    seconds = time.perf_counter() - started
    cpu = process.cpu_times()
    complete = [q for q in questions if q.final_s is not None]
    first, final = (
        _percentiles([q.first_s or 0 for q in complete]),
        _percentiles([q.final_s or 0 for q in complete]),
    )
    return Sample(
        bot.name,
        chats,
        len(questions),
        len(complete),
        *first,
        *final,
        (bot.crowd.calls - calls) / max(1, len(complete)),
        1e3 * (cpu.user + cpu.system - before.user - before.system) / max(1, len(complete)),
        max(0, process.memory_info().rss - memory) / 1024 / chats,
        len(complete) / seconds,
    )


def _percentiles(values: list[float]) -> tuple[float, float]:
    if len(values) < 2:
        return (values or [0.0])[0], (values or [0.0])[0]
    ranks = statistics.quantiles(values, n=100, method="inclusive")
    return ranks[49], ranks[94]


async def talk_at_once(
    bot: Bot, chats: int, rounds: int, question: Callable[[], str] = lambda: random.choice(POOL)
) -> Sample:
    """Let so many chats ask, each again when it has its answer, begun at different moments."""
    length_s = FIRST_S + TOKEN_S * len(_ANSWER.split())

    async def talk(chat: int) -> list[Question]:
        await asyncio.sleep(random.uniform(0, length_s))
        return [await bot.crowd.ask(chat, question(), _ANSWER, limit_s=120) for _ in range(rounds)]

    def start() -> list[asyncio.Task[list[Question]]]:
        return [asyncio.create_task(talk(chat)) for chat in bot.new_chats(chats)]

    return await measure(bot, chats, start)


async def turns_a_second(bot: Bot, turns: int, question: Callable[[int], str]) -> Sample:
    """Let a fixed number of conversations go on as fast as they can."""
    left = iter(range(turns))

    async def talk() -> list[Question]:
        asked: list[Question] = []
        chat = 0
        for number in left:
            if len(asked) % _TURNS_A_CHAT == 0:
                (chat,) = bot.new_chats(1)
            asked.append(await bot.crowd.ask(chat, question(number), _ANSWER))
        return asked

    return await measure(bot, _SLOTS, lambda: [asyncio.create_task(talk()) for _ in range(_SLOTS)])


async def warm_up(bot: Bot) -> None:
    """Ask everything once."""
    for number, question in enumerate(POOL):
        chat = bot.new_chats(1)[0] if number % _TURNS_A_CHAT == 0 else bot.next_chat - 1
        answered = await bot.crowd.ask(chat, question, _ANSWER, limit_s=60)
        assert answered.final_s, f"{bot.name} does not answer"


@asynccontextmanager
async def bots(folder: Path, model: ModelServer, postgres_url: str) -> AsyncIterator[list[Bot]]:
    """Start the baseline, and ours on SQLite, on Postgres and with Telegram's limits kept."""
    async with AsyncExitStack() as stack:
        running = []
        for name, url, settings in (
            ("bare", "", {}),
            ("SQLite", f"sqlite:///{folder / 'bench.db'}", _UNLIMITED),
            ("Postgres", postgres_url, _UNLIMITED),
            ("limited", f"sqlite:///{folder / 'limited.db'}", {}),
        ):
            crowd = await stack.enter_async_context(gather_crowd())
            place = Place(folder, crowd.url, model.url, url, settings)
            process = place.bare() if name == "bare" else place.polling()
            await process.start()
            stack.push_async_callback(process.stop)
            bot = Bot(name, crowd, process)
            await warm_up(bot)
            running.append(bot)
        yield running


@dataclass
class Result:
    """All that a run measured."""

    talking: list[Sample]
    rates: dict[str, float]  # turns a second, with an instant model
    new_questions: Sample
    new_at_100: Sample
    limited: Sample
    long: Sample

    @property
    def ratio(self) -> float:
        """Turns a second on SQLite over those of the baseline."""
        return self.rates["SQLite"] / self.rates["bare"]

    @property
    def first_text_more_ms(self) -> float:
        """What the first visible character takes longer at 100 chats, 95th percentile."""
        at_100 = {s.bot: s for s in self.talking if s.chats == 100}
        return 1e3 * (at_100["SQLite"].first_p95 - at_100["bare"].first_p95)


async def run(*, quick: bool) -> Result:
    """Measure everything."""
    progress = Console(stderr=True)
    model = ModelServer(reply=reply, keep_requests=False)
    folder = Path(tempfile.mkdtemp(prefix="bench"))
    with postgres_server() as server, progress.status("starting") as status:
        async with (
            model.serve(),
            bots(folder, model, server.get_uri()) as (bare, lite, pg, limited),
        ):
            compared = [bare, lite, pg]
            rates: dict[str, list[float]] = {bot.name: [] for bot in compared}
            for number in range(2 if quick else 5):
                for bot in compared:
                    status.update(f"turns a second, round {number + 1}: {bot.name}")
                    sample = await turns_a_second(
                        bot, 300 if quick else 900, lambda n: POOL[n % len(POOL)]
                    )
                    assert sample.complete == sample.asked, sample
                    rates[bot.name].append(sample.turns_a_second)
            status.update("new questions")
            new = await turns_a_second(lite, 150, lambda n: f"{n}번 방 도배지가 왜 들뜨나요?")
            model.first_s, model.token_s = FIRST_S, TOKEN_S
            talking = []
            for chats, rounds in ((1, 5), (20, 4), (100, 3), (500, 1))[: 3 if quick else 4]:
                for bot in compared:
                    status.update(f"{chats} chats at once: {bot.name}")
                    talking.append(await talk_at_once(bot, chats, rounds))
            status.update("100 chats at once, every question new")
            numbers = count()
            new_at_100 = await talk_at_once(
                lite, 100, 2, lambda: f"{next(numbers)}번 벽의 이음매가 왜 벌어지나요?"
            )
            status.update("with Telegram's limits")
            limited.crowd.faults.set_limits(1.0, 30.0)
            under_limits = await talk_at_once(limited, 60, 2)
            limited.crowd.faults.set_limits(None, None)
            status.update("long answers")
            model.first_s = model.token_s = 0.0

            async def ask_long(chat: int) -> list[Question]:
                return [await lite.crowd.ask(chat, _LONG_QUESTION, _LONG)]

            long = await measure(
                lite,
                20,
                lambda: [asyncio.create_task(ask_long(chat)) for chat in lite.new_chats(20)],
            )
    medians = {name: statistics.median(values) for name, values in rates.items()}
    return Result(talking, medians, new, new_at_100, under_limits, long)


def show(result: Result) -> None:
    """Print the result for people."""
    console = Console(width=120)
    table = Table(title="chats talking at once, model at 25 words a second (times in ms)")
    for heading in (
        *("chats", "bot", "first p50", "first p95", "final p50", "final p95"),
        *("complete", "calls/answer", "CPU ms/answer", "KiB/chat"),
    ):
        table.add_column(heading, justify="right")
    for s in result.talking:
        times = (s.first_p50, s.first_p95, s.final_p50, s.final_p95)
        table.add_row(
            str(s.chats),
            s.bot,
            *(f"{1e3 * t:.0f}" for t in times),
            f"{s.complete}/{s.asked}",
            f"{s.calls_an_answer:.1f}",
            f"{s.cpu_ms_an_answer:.1f}",
            f"{s.kib_a_chat:.0f}",
        )
    console.print(table)
    console.print("turns a second, instant model, median of the rounds:")
    for name, rate in result.rates.items():
        console.print(f"  {name:9} {rate:6.1f}   {rate / result.rates['bare']:.2f} of bare")
    new, limited, long = result.new_questions, result.limited, result.long
    console.print(
        f"  SQLite, every question new: {new.turns_a_second:.1f} (bound by the embedding)"
    )
    console.print(
        f"first text at 100 chats, 95th percentile: {result.first_text_more_ms:+.1f} ms to bare"
    )
    console.print(
        "  with every question new: p50 "
        f"{1e3 * result.new_at_100.first_p50:.0f}, p95 {1e3 * result.new_at_100.first_p95:.0f} ms"
    )
    console.print(
        f"under 1 call/s a chat and 30/s in all: {limited.complete}/{limited.asked} complete"
    )
    console.print(f"answers of {len(_LONG):,} characters: {long.complete}/{long.asked} complete")


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer rounds, no 500 chats")
    parser.add_argument("--json", type=Path, help="also write the figures to a file")
    given = parser.parse_args()
    result = asyncio.run(run(quick=given.quick))
    show(result)
    if given.json:
        given.json.write_text(json.dumps(asdict(result), indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
