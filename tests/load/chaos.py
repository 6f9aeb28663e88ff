"""Thousands of messages while everything dies: is each answered once, and in order?

    python -m tests.load.chaos --kills 200 --setting sqlite
    python -m tests.load.chaos --kills 200 --setting replicas

The real bot runs as processes of its own and is killed with SIGKILL at random moments, every
fourth time in the very moment in which Telegram has accepted a message and not said so yet. The
model server hangs, fails and breaks off; Telegram refuses, fails and drops connections; Postgres
is restarted. At the end, the chats as the customers see them are held against the database.
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles

from aiohttp import web
from rich.console import Console
from sqlalchemy import func, select

from bot.playground.faults import Fault
from bot.playground.records import Json
from db import database as db
from db.models import Answer, Message
from tests.load.crowd import Crowd, gather_crowd
from tests.load.fleet import Place, Process, balancing, free_ports
from tests.load.postgres import RestartablePostgres, restartable_postgres
from tests.modelserver import ModelServer

REPLICAS = 3
_GROUPS = 0.1  # share of the chats
# How long before a kill a message was accepted that may not have been noted, and how long after
# one Telegram still accepts what the dead process had sent.
_WINDOW_S, _ON_ITS_WAY_S = 1.5, 1.2
_FAULT_S = 2.0
_SETTLE_LIMIT_S = 300.0

_QUESTIONS = (
    "벽지에 곰팡이가 {n}번 생겼는데 어떻게 해야 하나요?",
    "합지와 실크 벽지는 {n}번 물어도 뭐가 다른가요?",
    "도배 후 환기는 {n}일 동안 어떻게 하나요?",
    "오늘 저녁 메뉴 {n}개만 추천해 줘",
    "/help",
)


class ChaosModel(ModelServer):
    """A model server of which a share of the requests goes wrong."""

    def __init__(self) -> None:
        super().__init__(reply=lambda asked: f"{asked} 에 대한 답입니다. " + "자세히 보면 " * 20)
        self.token_s = 0.004
        self.is_calm = False
        self.wrong: Counter[str] = Counter()

    async def complete(self, request: web.Request) -> web.StreamResponse:
        """Answer, or do not."""
        (what,) = random.choices(("fine", "status", "hang", "break", "error"), (90, 4, 1, 3, 2))
        if self.is_calm or what == "fine":
            return await super().complete(request)
        self.wrong[what] += 1
        if what == "status":
            return web.json_response({"error": {"message": "as ordered"}}, status=500)
        broken = ModelServer(self.reply, token_s=self.token_s)
        broken.hang = what == "hang"
        broken.break_after = 10 if what == "break" else None
        broken.error_after = 10 if what == "error" else None
        return await broken.complete(request)


@dataclass
class Report:
    """What happened, and what became of the messages."""

    messages: int = 0
    kills: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    doubled_in_window: Counter[str] = field(default_factory=Counter)
    doubled: list[str] = field(default_factory=list)
    out_of_order: list[str] = field(default_factory=list)
    windows_ms: list[float] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def is_good(self) -> bool:
        """Whether nothing happened but what cannot be helped."""
        return not (self.lost or self.doubled or self.out_of_order)

    def lines(self) -> list[str]:
        """Return the report for people."""
        faults = ", ".join(f"{name} {count}" for name, count in sorted(self.faults.items()))
        ranks = quantiles(self.windows_ms, n=20) if len(self.windows_ms) > 1 else [0.0] * 19
        p50, p95 = ranks[9], ranks[18]
        return [
            f"messages {self.messages}, kills {self.kills}, {self.seconds:.0f} s",
            f"faults: {faults}",
            f"lost {len(self.lost)}",
            f"doubled {len(self.doubled)}, and {self.doubled_in_window.total()} in the window "
            "between Telegram's acceptance and our note of it:",
            f"  {self.doubled_in_window['aimed']} by kills aimed at it, "
            f"{self.doubled_in_window['reply lost']} by replies that Telegram dropped, "
            f"{self.doubled_in_window['chance']} by chance",
            f"that window lasted {p50:.0f} ms (median), {p95:.0f} ms (95th percentile)",
            f"out of order {len(self.out_of_order)}",
            *self.lost[:5],
            *self.doubled[:5],
            *self.out_of_order[:5],
        ]


class Chaos:
    """One run."""

    def __init__(
        self,
        crowd: Crowd,
        model: ChaosModel,
        processes: list[Process],
        postgres: RestartablePostgres | None,
        chats: int,
        *,
        spare: bool,
    ) -> None:
        self._spare = spare
        self._crowd = crowd
        self._model = model
        self._processes = processes
        self._postgres = postgres
        self._chats = [-n if n <= chats * _GROUPS else 1000 + n for n in range(1, chats + 1)]
        self._asked: dict[int, list[int]] = {chat: [] for chat in self._chats}
        self._sent_at: dict[int, float] = {}  # by message id
        self._kills: list[float] = []
        self._aimed_at: set[int] = set()  # messages whose acceptance was a process's end
        self._reply_lost: set[int] = set()  # messages whose acceptance was not told
        self._armed = False
        self._outage: asyncio.Task[None] | None = None
        self.report = Report()
        crowd.listeners.append(self._watch)

    def _watch(self, _: int, event: str, view: Json) -> None:
        if event != "message" or view["from"] != "bot":
            return
        self._sent_at[view["id"]] = time.time()
        if self._armed:
            self._armed = False
            if not self._spare:
                self._aimed_at.add(view["id"])
            self._kill(random.choice(self._processes))

    def _kill(self, process: Process) -> None:
        self._kills.append(time.time())
        if not self._spare:
            process.kill()

    async def run(self, kills: int, progress: Console) -> None:
        """Write, kill and disturb until `kills` are done, then let everything come to rest."""
        started = time.monotonic()
        await asyncio.gather(*(process.start() for process in self._processes))
        writing = asyncio.create_task(self._write_for_ever())
        disturbing = asyncio.create_task(self._disturb_for_ever())
        with progress.status("") as status:
            while len(self._kills) < kills:
                await self._kill_one()
                for task in (writing, disturbing):
                    if task.done():
                        task.result()  # a failure of the test itself
                status.update(
                    f"{len(self._kills)}/{kills} kills, {self.report.messages} messages, "
                    f"{self._pending()} wait"
                )
            writing.cancel()
            disturbing.cancel()
            await asyncio.gather(writing, disturbing, return_exceptions=True)
            if self._outage:
                await self._outage
            self._model.is_calm = True
            self._crowd.faults.faults.clear()
        self.report.kills = len(self._kills)
        self.report.faults.update(self._model.wrong)
        self.report.seconds = time.monotonic() - started

    def _pending(self) -> int:
        return len(self._crowd.store.pending)

    async def _kill_one(self) -> None:
        """Kill a process, now or when it has just sent something, and start it again."""
        await asyncio.sleep(random.uniform(0.2, 4.0) / len(self._processes) * 1.5)
        before = len(self._kills)
        if len(self._kills) % 4 == 0:
            self._armed = True
            async with asyncio.timeout(60):
                while len(self._kills) == before:
                    await self._restart_the_dead()
        else:
            self._kill(random.choice(self._processes))
        await self._restart_the_dead()

    async def _restart_the_dead(self) -> None:
        """Start what was killed, or gave up because Postgres was away when it started."""
        for process in self._processes:
            if await process.has_died():
                await process.start()

    async def _write_for_ever(self) -> None:
        number = 0
        while True:
            chat = random.choice(self._chats)
            for _ in range(random.choice((1, 1, 1, 2, 3))):
                number += 1
                text = random.choices(_QUESTIONS, (4, 2, 2, 1, 1), k=1)[0].format(n=number)
                self._asked[chat].append(self._crowd.say(chat, text))
                self.report.messages += 1
            await asyncio.sleep(random.expovariate(8))

    async def _disturb_for_ever(self) -> None:
        while True:
            await asyncio.sleep(random.uniform(0.2, 1.5))
            method = random.choice(
                ("sendMessage", "sendMessage", "sendMessageDraft", "editMessageText", "getUpdates")
            )
            match random.choice(("429", "5xx", "dropped", "dropped after", "slow")):
                case "429" as what if method != "getUpdates":
                    fault = Fault(method, status=429, retry_after=random.randint(1, 3))
                case "5xx" as what:
                    fault = Fault(method, status=random.choice((500, 502)), times=2)
                case "dropped" as what:
                    fault = Fault(method, drop=True, times=2)
                case "dropped after" as what if random.random() < 0.2:
                    fault = _DroppedAfter(self, method)
                case "slow" as what:
                    fault = Fault(method, delay_s=random.uniform(0.1, 1.0))
                case _:
                    continue
            self.report.faults[f"Telegram {what}"] += 1
            self._disturb(fault)
            if self._postgres and random.random() < 0.04:
                self.report.faults["Postgres restarted"] += 1
                # Not cancelled with the disturbing: it has to come back.
                self._outage = asyncio.create_task(self._restart(self._postgres))
                await asyncio.shield(self._outage)

    async def _restart(self, postgres: RestartablePostgres) -> None:
        await postgres.stop()
        await asyncio.sleep(random.uniform(0.0, 4.0))
        await postgres.start()

    def _disturb(self, fault: Fault) -> None:
        """Let a fault wait for its call for a while: trouble that piles up would never end."""
        faults = self._crowd.faults.faults
        faults.append(fault)

        def give_up() -> None:
            faults[:] = [other for other in faults if other is not fault]

        asyncio.get_running_loop().call_later(_FAULT_S, give_up)

    async def settle(self, database: db.Database, progress: Console) -> None:
        """Wait until every message's turn has ended."""
        unfinished = select(func.count()).where(Message.done_at.is_(None))
        with progress.status("") as status:
            started = time.monotonic()
            while time.monotonic() - started < _SETTLE_LIMIT_S:
                left = await database.insist(lambda c: c.scalar(unfinished)) or 0
                if not left and not self._crowd.store.pending:
                    break
                status.update(f"{left + self._pending()} turns left")
                await self._restart_the_dead()
                await asyncio.sleep(0.5)
        await asyncio.sleep(3)  # whatever would come twice

    async def judge(self, database: db.Database) -> None:
        """Hold what the customers see against what the database says."""
        rows = await database.insist(
            lambda c: c.execute(
                select(
                    Message.chat_id,
                    Message.telegram_message_id,
                    Answer.text,
                    Answer.more,
                    Answer.sent_ids,
                    Answer.sent_at,
                )
                .outerjoin(Answer, Answer.message_id == Message.id)
                .where(Message.done_at.is_not(None))
            ).all()
        )
        kept = {(row.chat_id, row.telegram_message_id): row for row in rows}
        for chat, asked in self._asked.items():
            seen = {
                view["id"]: view["text"]
                for view in self._crowd.store.history(chat)
                if view["from"] == "bot" and view["final"]
            }
            last = 0
            noted: set[int] = set()
            for message_id in asked:
                row = kept.get((chat, message_id))
                ids = (row.sent_ids if row else None) or []
                noted.update(ids)
                said = "".join(seen.get(i, "") for i in ids)
                parts = [row.text or "", *(item["text"] for item in row.more or [])] if row else []
                whole = "".join(parts)
                if not ids or "".join(said.split()) != "".join(whole.split()):
                    self.report.lost.append(f"chat {chat}, message {message_id}: {ids}")
                    continue
                if ids[0] < last:
                    self.report.out_of_order.append(f"chat {chat}, message {message_id}")
                last = ids[-1]
                if chat > 0 and row and row.sent_at:  # in groups, the answer's last call is an edit
                    window_s = row.sent_at.timestamp() - self._sent_at[last]
                    self.report.windows_ms.append(1e3 * window_s)
            for message_id in seen.keys() - noted:
                self._judge_double(chat, message_id)

    def _judge_double(self, chat: int, message_id: int) -> None:
        sent = self._sent_at[message_id]
        killed = any(-_ON_ITS_WAY_S <= kill - sent < _WINDOW_S for kill in self._kills)
        if message_id in self._aimed_at:
            self.report.doubled_in_window["aimed"] += 1
        elif message_id in self._reply_lost:
            self.report.doubled_in_window["reply lost"] += 1
        elif killed and not self._spare:
            self.report.doubled_in_window["chance"] += 1
        else:
            self.report.doubled.append(f"chat {chat}, answer {message_id}")

    def note_lost_reply(self) -> None:
        """Note that the newest message's acceptance is not told to the bot."""
        self._reply_lost.add(max(self._sent_at, default=0))


class _DroppedAfter(Fault):
    """Telegram does the work and the connection drops: the bot cannot know."""

    def __init__(self, chaos: Chaos, method: str) -> None:
        super().__init__(method, drop=True, after=True)
        self._chaos = chaos

    def error(self) -> Exception:  # type: ignore[override]
        """Refuse, after the work was done."""
        self._chaos.note_lost_reply()
        return super().error()


async def run(setting: str, kills: int, chats: int, *, spare: bool = False) -> Report:
    """Run chaos in one setting and return the report."""
    progress = Console(stderr=True)
    folder = Path(tempfile.mkdtemp(prefix="chaos"))
    model = ChaosModel()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(model.serve())
        crowd = await stack.enter_async_context(gather_crowd())
        settings = {
            "MODEL_FIRST_TOKEN_S": "3",
            "MODEL_TOTAL_S": "10",
            "TELEGRAM_CALLS_A_SECOND": "200",
        }
        postgres: RestartablePostgres | None = None
        url = f"sqlite:///{folder / 'chaos.db'}"
        if setting == "replicas":
            postgres = await stack.enter_async_context(restartable_postgres())
            url = postgres.url
        place = Place(folder, crowd.url, model.url, url, settings)
        if setting == "replicas":
            ports = free_ports(REPLICAS)
            hook = await stack.enter_async_context(balancing(ports))
            processes = [place.replica(hook, port) for port in ports]
        else:
            processes = [place.polling()]
        chaos = Chaos(crowd, model, processes, postgres, chats, spare=spare)
        await chaos.run(kills, progress)
        database = db.open_database(url)
        stack.push_async_callback(database.close)
        await chaos.settle(database, progress)
        await asyncio.gather(*(process.stop() for process in processes))
        await chaos.judge(database)
    print(f"logs: {folder}", file=sys.stderr)
    return chaos.report


def main() -> None:
    """Run chaos from the command line; exit code 1 where something was lost or doubled."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--chats", type=int, default=300)
    parser.add_argument("--setting", choices=("sqlite", "replicas"), default="sqlite")
    parser.add_argument(
        "--spare", action="store_true", help="kill nobody: then only dropped replies may double"
    )
    given = parser.parse_args()
    report = asyncio.run(run(given.setting, given.kills, given.chats, spare=given.spare))
    print(f"chaos, {given.setting}:")
    print("\n".join(f"  {line}" for line in report.lines()))
    sys.exit(0 if report.is_good else 1)


if __name__ == "__main__":
    main()
