"""Fifty chats for ten minutes: do memory and tasks stay flat? `make soak`, or

    python -m tests.load.soak [--minutes 10] [--chats 50]

The bot runs as it is shipped, with Telegram's limits kept on both sides.
"""

import argparse
import asyncio
import random
import re
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import linear_regression, mean

import aiohttp
import psutil
from rich.console import Console

from tests.load.bench import FIRST_S, TOKEN_S, reply
from tests.load.crowd import Crowd, gather_crowd
from tests.load.fleet import Place, free_ports
from tests.modelserver import ModelServer

_EVERY_S = 5.0
_PAUSE_S = (0.5, 4.0)  # between an answer and its customer's next question
_MOST_MIB_A_MINUTE = 0.5
_MOST_TASKS_MORE = 1.2  # mean of the second half over that of the first
_POOL = [f"{n}번 방 벽지에 곰팡이가 생겼는데 어떻게 해야 하나요?" for n in range(200)]


@dataclass
class Trace:
    """What was seen of the bot over time."""

    minutes: list[float] = field(default_factory=list)
    mib: list[float] = field(default_factory=list)
    tasks: list[float] = field(default_factory=list)
    asked: int = 0
    complete: int = 0

    @property
    def mib_a_minute(self) -> float:
        """How memory grows, after the first fifth, in which caches fill."""
        start = len(self.minutes) // 5
        return linear_regression(self.minutes[start:], self.mib[start:]).slope

    @property
    def tasks_more(self) -> float:
        """Tasks in the second half over those in the first."""
        half = len(self.tasks) // 2
        return mean(self.tasks[half:]) / mean(self.tasks[:half])

    @property
    def is_good(self) -> bool:
        """Whether nothing grew and every answer came."""
        return (
            self.complete == self.asked
            and self.mib_a_minute < _MOST_MIB_A_MINUTE
            and self.tasks_more < _MOST_TASKS_MORE
        )


async def _talk(crowd: Crowd, chat: int, until: float, trace: Trace) -> None:
    await asyncio.sleep(random.uniform(0, 3))
    while time.monotonic() < until:
        question = random.choice(_POOL)
        answered = await crowd.ask(chat, question, reply(question), limit_s=120)
        trace.asked += 1
        trace.complete += answered.final_s is not None
        await asyncio.sleep(random.uniform(*_PAUSE_S))


async def _watch(port: int, pid: int, trace: Trace, progress: Console) -> None:
    process, started = psutil.Process(pid), time.monotonic()
    async with aiohttp.ClientSession() as session:
        with progress.status("") as status:
            while True:
                async with session.get(f"http://127.0.0.1:{port}/metrics") as response:
                    found = re.search(r"^deepbot_tasks (\S+)", await response.text(), re.MULTILINE)
                trace.tasks.append(float(found[1]) if found else 0.0)
                trace.minutes.append((time.monotonic() - started) / 60)
                trace.mib.append(process.memory_info().rss / 2**20)
                status.update(
                    f"{trace.minutes[-1]:.1f} min, {trace.mib[-1]:.1f} MiB, "
                    f"{trace.tasks[-1]:.0f} tasks, {trace.complete} answers"
                )
                await asyncio.sleep(_EVERY_S)


async def run(minutes: float, chats: int) -> Trace:
    """Let `chats` talk for so many minutes and watch the bot."""
    trace, progress = Trace(), Console(stderr=True)
    model = ModelServer(reply=reply, first_s=FIRST_S, token_s=TOKEN_S, keep_requests=False)
    folder = Path(tempfile.mkdtemp(prefix="soak"))
    (port,) = free_ports(1)
    async with model.serve(), gather_crowd() as crowd:
        crowd.faults.set_limits(1.0, 30.0)
        listen = {"LISTEN": f"127.0.0.1:{port}"}
        bot = Place(
            folder, crowd.url, model.url, f"sqlite:///{folder / 'soak.db'}", listen
        ).polling()
        await bot.start()
        await crowd.ask(1, _POOL[0], reply(_POOL[0]))
        watching = asyncio.create_task(_watch(port, bot.pid, trace, progress))
        until = time.monotonic() + 60 * minutes
        await asyncio.gather(*(_talk(crowd, 1000 + n, until, trace) for n in range(chats)))
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await bot.stop()
    return trace


def main() -> None:
    """Run the soak from the command line; exit code 1 where something grew."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--chats", type=int, default=50)
    given = parser.parse_args()
    trace = asyncio.run(run(given.minutes, given.chats))
    half = len(trace.tasks) // 2
    print(
        f"soak: {given.chats} chats, {trace.minutes[-1]:.1f} min, "
        f"{trace.complete}/{trace.asked} answers complete"
    )
    print(
        f"  memory {trace.mib[0]:.1f} MiB at first, {mean(trace.mib[-5:]):.1f} at the end, "
        f"{trace.mib_a_minute:+.2f} MiB a minute after the first fifth"
    )
    print(
        f"  tasks {mean(trace.tasks[:half]):.0f} in the first half, "
        f"{mean(trace.tasks[half:]):.0f} in the second"
    )
    sys.exit(0 if trace.is_good else 1)


if __name__ == "__main__":
    main()
