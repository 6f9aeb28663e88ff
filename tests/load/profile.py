"""Where a turn's time goes: a running bot sampled by py-spy under an instant model.

    python -m tests.load.profile

Each sample counts to the innermost part that its stack passes through. Waiting is left out.
"""

import asyncio
import re
import sys
import tempfile
from collections import Counter
from pathlib import Path

import psutil

from tests.load.bench import POOL, Bot, reply, turns_a_second, warm_up
from tests.load.crowd import gather_crowd
from tests.load.fleet import Place
from tests.modelserver import ModelServer

_TURNS = 4000
_RATE = 250  # samples a second
_WAITING = re.compile(r"selectors\.py|_SQLite\._serve|_worker \(")
_PARTS = (
    (r"/inference/client\.py", "reading the model's stream (inference/client.py)"),
    (r"/db/(queries|claims)\.py|sqlalchemy|sqlite", "database (its own thread)"),
    (r"/bot/telegram_api\.py", "calls to Telegram: HTTP (aiohttp)"),
    (r"site-packages/telegram/", "calls and updates: python-telegram-bot's objects"),
    (r"/inference/", "retrieval (remembered) and prompts"),
    (r"/bot/consult\.py|/bot/gate\.py", "consultation"),
    (r"/bot/(turns|worker|outbound|pacing|receiving|updates|metrics)\.py", "turn loop, outbound"),
    (r"aiohttp", "HTTP received: parsing (aiohttp)"),
    (r"asyncio|threading|concurrent", "event loop, threads"),
)


async def run() -> tuple[Counter[str], float]:
    """Return the samples by part, and the CPU milliseconds of a turn."""
    folder = Path(tempfile.mkdtemp(prefix="profile"))
    stacks = folder / "stacks.txt"
    model = ModelServer(reply=reply, keep_requests=False)
    async with model.serve(), gather_crowd() as crowd:
        unlimited = {"TELEGRAM_CALLS_A_SECOND": "100000", "MODEL_AT_ONCE": "100000"}
        url = f"sqlite:///{folder / 'profile.db'}"
        process = Place(folder, crowd.url, model.url, url, unlimited).polling()
        await process.start()
        bot = Bot("SQLite", crowd, process)
        await warm_up(bot)
        spy = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).with_name("py-spy")),
            *("record", "--pid", str(process.pid), "--format", "raw", "--rate", str(_RATE)),
            *("--duration", "600", "--output", str(stacks), "--nonblocking", "--full-filenames"),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        await asyncio.sleep(1)
        before = psutil.Process(process.pid).cpu_times()
        await turns_a_second(bot, _TURNS, lambda n: POOL[n % len(POOL)])
        after = psutil.Process(process.pid).cpu_times()
        spy.send_signal(2)
        await spy.wait()
        await process.stop()
    cpu_ms = 1e3 * (after.user + after.system - before.user - before.system) / _TURNS
    parts: Counter[str] = Counter()
    for line in stacks.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        if stack and not _WAITING.search(stack.rpartition(";")[2]):
            parts[_part(stack)] += int(count)
    return parts, cpu_ms


def _part(stack: str) -> str:
    for frame in reversed(stack.split(";")):
        for pattern, name in _PARTS[:-2]:
            if re.search(pattern, frame):
                return name
    return next((name for pattern, name in _PARTS[-2:] if re.search(pattern, stack)), "the rest")


def main() -> None:
    """Print the shares."""
    parts, cpu_ms = asyncio.run(run())
    whole = sum(parts.values())
    print(f"a turn: {cpu_ms:.1f} ms of CPU ({_TURNS} turns, {whole} samples)")
    for name, count in parts.most_common():
        print(f"  {100 * count / whole:5.1f} %  {cpu_ms * count / whole:5.2f} ms  {name}")


if __name__ == "__main__":
    main()
