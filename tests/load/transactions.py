"""What a message costs Postgres and the bot's process, and what an idle bot costs them.

    python -m tests.load.transactions

One bot on a Postgres of its own, with the model answering at once; customers in several chats ask
one question after another. Transactions are Postgres's own count, CPU seconds are the processes'
(so other work on the machine counts little), connections and memory are as they are at the end.
"""

import asyncio
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import asyncpg
import psutil

from tests.load.bench import POOL, Bot, reply, turns_a_second, warm_up
from tests.load.crowd import gather_crowd
from tests.load.fleet import Place
from tests.load.postgres import postgres_server
from tests.modelserver import ModelServer

_IDLE_S = 20.0
_TURNS = 600
_SETTLE_S = 2.0  # until Postgres has told its statistics what a connection did
_UNLIMITED = {"TELEGRAM_CALLS_A_SECOND": "100000", "MODEL_AT_ONCE": "100000"}
_COMMITTED = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
_CONNECTIONS = (
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


class Meter:
    """Reads Postgres's counters and the processes' clocks."""

    def __init__(self, connection: Any, server: int, bot: int) -> None:  # noqa: ANN401 - untyped
        self._connection = connection
        self._server, self._bot = psutil.Process(server), psutil.Process(bot)
        self._own = 0  # transactions of this meter

    async def read(self) -> tuple[int, float, float]:
        """Return transactions, and the CPU seconds of Postgres and of the bot, until now."""
        await asyncio.sleep(_SETTLE_S)
        self._own += 1
        committed = await self._connection.fetchval(_COMMITTED) - self._own
        return committed, _cpu_s(self._server), _cpu_s(self._bot)

    async def connections(self) -> int:
        """Return how many connections others hold."""
        self._own += 1
        return int(await self._connection.fetchval(_CONNECTIONS))

    @property
    def bot_mib(self) -> float:
        """The bot's memory."""
        return self._bot.memory_info().rss / 2**20


def _cpu_s(process: psutil.Process) -> float:
    """Return what a process and its children have used; a child that has ended counts too."""
    times = process.cpu_times()
    own = times.user + times.system + times.children_user + times.children_system
    return own + sum(_alone_s(child) for child in process.children(recursive=True))


def _alone_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


async def run() -> None:
    """Measure, and print."""
    folder = Path(tempfile.mkdtemp(prefix="transactions"))
    model = ModelServer(reply=reply, keep_requests=False)
    with postgres_server() as server:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(model.serve())
            crowd = await stack.enter_async_context(gather_crowd())
            place = Place(folder, crowd.url, model.url, server.get_uri(), _UNLIMITED)
            process = place.polling()
            await process.start()
            stack.push_async_callback(process.stop)
            bot = Bot("Postgres", crowd, process)
            await warm_up(bot)
            connection = await asyncpg.connect(server.get_uri())
            stack.push_async_callback(connection.close)
            meter = Meter(connection, server.get_pid(), process.pid)
            before = await meter.read()
            idle_mib = meter.bot_mib
            await asyncio.sleep(_IDLE_S - _SETTLE_S)
            idle = await meter.read()
            idle_connections = await meter.connections()
            sample = await turns_a_second(bot, _TURNS, lambda n: POOL[n % len(POOL)])
            after = await meter.read()
            assert sample.complete == _TURNS, sample
            print(f"쉬는 봇: 초당 트랜잭션 {(idle[0] - before[0]) / _IDLE_S:.2f}", end="")
            print(f", Postgres CPU {1e3 * (idle[1] - before[1]) / _IDLE_S:.2f} ms", end="")
            print(f", 봇 CPU {1e3 * (idle[2] - before[2]) / _IDLE_S:.2f} ms", end="")
            print(f", 연결 {idle_connections}, 메모리 {idle_mib:.0f} MiB")
            print(f"메시지 하나: 트랜잭션 {(after[0] - idle[0]) / _TURNS:.2f}", end="")
            print(f", Postgres CPU {1e3 * (after[1] - idle[1]) / _TURNS:.2f} ms", end="")
            print(f", 봇 CPU {1e3 * (after[2] - idle[2]) / _TURNS:.2f} ms", end="")
            print(f", 텔레그램 호출 {sample.calls_an_answer:.1f}")
            print(f"바쁠 때 연결 {await meter.connections()}, 메모리 {meter.bot_mib:.0f} MiB")


def main() -> None:
    """Run from the command line."""
    asyncio.run(run())


if __name__ == "__main__":
    main()
