"""One process's part in running turns: the chats it holds, its lease, what it takes over.

The order of a chat's turns is the database's: each turn's end looks for the next one there, in
the same transaction (`db/claims.py`). Here are only the tasks that run them.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import structlog
from sqlalchemy import Connection

from bot import metrics
from bot.turns import Turns, UnfinishedError
from db import claims
from db.claims import ClaimLostError
from db.database import Database, Work
from db.models import PASSING_KINDS, Kind
from db.queries import Stored, Turn

log = structlog.get_logger()

_TICK_S = 1.0
_SWEEP_EVERY_S = 5.0
_STEADY_S = claims.LEASE_S / 2  # alive so long without a gap, a worker may judge the others
_TRY_AGAIN_S = 30.0  # for a turn that Telegram's login kept from ending


class Worker:
    """Runs turns, one at a time in a chat, chats side by side, from `start` to `stop`.

    `alone` says that no other process runs turns of this bot, by design: then everything that
    is unfinished at the start is this worker's. `on_share` is told how many workers there are.
    """

    def __init__(
        self,
        database: Database,
        bot_id: int,
        turns: Turns,
        *,
        alone: bool,
        on_share: Callable[[int], None],
    ) -> None:
        self.id = ""
        self._database = database
        self._bot_id = bot_id
        self._turns = turns
        self._alone = alone
        self._on_share = on_share
        self._chats: dict[int, asyncio.Task[None]] = {}
        self._again: set[int] = set()  # chats with something new since their last look
        self._passing: dict[int, asyncio.Task[None]] = {}  # by message id
        self._ticking: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Register; one that is alone takes up at once what an earlier process left."""
        await self._register()
        if self._alone:
            await self._sweep()
        self._ticking = asyncio.create_task(self._tick_for_ever())

    async def stop(self, grace_s: float) -> None:
        """Let running turns end for `grace_s`, then leave the rest to whoever comes next."""
        if self._ticking:
            self._ticking.cancel()
            with suppress(asyncio.CancelledError):
                await self._ticking
        tasks = [*self._chats.values(), *self._passing.values()]
        if tasks:
            await asyncio.wait(tasks, timeout=grace_s)
        await self._cancel_all()
        try:
            async with asyncio.timeout(grace_s):
                await self._database.run(lambda c: claims.leave(c, self.id))
        except Exception as error:  # then the lease has to end by itself
            log.warning("worker_left_without_a_word", error=type(error).__name__)

    def take(self, stored: Stored) -> None:
        """Run a newly stored turn, now or when its turn comes, if it is this worker's to run."""
        mine = stored.worker_id == self.id
        kind = stored.turn.kind
        if kind in PASSING_KINDS:
            if mine or kind == Kind.RATING:
                self._pass(stored.turn)
            if stored.is_free:
                self._wake(stored.turn.chat_id)  # held for nothing: to be let go of
        elif mine:
            self._wake(stored.turn.chat_id, stored.turn if stored.is_free else None)

    def _wake(self, chat_id: int, turn: Turn | None = None) -> None:
        if chat_id in self._chats:
            self._again.add(chat_id)
            return
        self._chats[chat_id] = asyncio.create_task(self._serve(chat_id, turn))
        metrics.RUNNING.set(len(self._chats))

    def _pass(self, turn: Turn) -> None:
        self._passing[turn.message_id] = asyncio.create_task(self._run_passing(turn))

    async def _serve(self, chat_id: int, turn: Turn | None) -> None:
        """Run a chat's turns until there is none, which is when the chat is let go of."""
        pause = _TRY_AGAIN_S
        try:
            while True:
                self._again.discard(chat_id)
                try:
                    turn = turn or await self._database.insist(self._next(chat_id))
                    while turn is not None:
                        turn = await self._run(turn)
                except ClaimLostError:
                    log.warning("chat_lost_to_another_worker")
                    return
                except Exception as error:  # a failure of ours; the chat is still held
                    log.exception("chat_failed", error=type(error).__name__)
                    turn = None
                    await asyncio.sleep(pause)
                    pause *= 2  # whoever waits there should not hear an apology a minute
                    continue
                if chat_id not in self._again:
                    return
        finally:
            del self._chats[chat_id]
            metrics.RUNNING.set(len(self._chats))

    async def _run(self, turn: Turn) -> Turn | None:
        """Run a turn, note its end and return the chat's next."""
        while True:
            try:
                ending = await self._turns.run(turn, self.id)
                break
            except UnfinishedError:
                await asyncio.sleep(_TRY_AGAIN_S)
        look = self._next(turn.chat_id)

        def end(connection: Connection) -> Turn | None:
            ending(connection)
            claims.finish(connection, turn.message_id)
            return look(connection)

        return await self._database.insist(end)

    def _next(self, chat_id: int) -> Work[Turn | None]:
        return lambda c: claims.next_turn(c, self._bot_id, chat_id, self.id)

    async def _run_passing(self, turn: Turn) -> None:
        def end(connection: Connection) -> None:
            ending(connection)
            claims.finish(connection, turn.message_id)

        try:
            ending = await self._turns.run(turn, self.id)
            await self._database.insist(end)
        except UnfinishedError:
            pass  # the sweep takes it up as any forgotten message
        except Exception as error:
            log.exception("turn_failed", error=type(error).__name__)
        finally:
            del self._passing[turn.message_id]

    # The lease, and what others leave

    async def _register(self) -> None:
        self.id = await self._database.insist(
            lambda c: claims.register(c, self._bot_id, alone=self._alone)
        )
        self._steady_since = time.monotonic()
        log.info("worker_started", worker=self.id[:8])

    async def _tick_for_ever(self) -> None:
        renewed = swept = time.monotonic()
        while True:
            await asyncio.sleep(_TICK_S)
            try:
                alive = await self._database.insist(
                    lambda c: claims.renew(c, self._bot_id, self.id)
                )
                now = time.monotonic()
                if now - renewed > _STEADY_S:
                    self._steady_since = now  # the others may have had the same gap
                renewed = now
                if alive is None:
                    await self._start_over()
                    continue
                self._on_share(alive)
                await self._run_foreign_stops()
                if now - swept >= _SWEEP_EVERY_S and now - self._steady_since >= _STEADY_S:
                    await self._sweep()
                    swept = now
            except Exception as error:  # the next round tries again
                log.exception("worker_tick_failed", error=type(error).__name__)

    async def _start_over(self) -> None:
        """Go on as a new worker: this one was taken for dead, and others have its chats."""
        log.warning("worker_taken_for_dead")
        await self._cancel_all()
        await self._register()

    async def _run_foreign_stops(self) -> None:
        if self._alone or not self._chats:
            return
        running = list(self._passing)
        found = await self._database.insist(
            lambda c: claims.stops(c, self._bot_id, self.id, running)
        )
        for turn in found:
            self._pass(turn)

    async def _sweep(self) -> None:
        chats = await self._database.insist(lambda c: claims.take_over(c, self._bot_id, self.id))
        if chats:
            log.info("chats_taken_over", count=len(chats))
            metrics.TAKEN_OVER.inc(len(chats))
        for chat_id in chats:
            self._wake(chat_id)

    async def _cancel_all(self) -> None:
        tasks: list[asyncio.Task[Any]] = [*self._chats.values(), *self._passing.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
