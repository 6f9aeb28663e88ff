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
_PASSING_LIMIT_S = claims.LEASE_S / 2  # later, another could take what passes for forgotten
_TRY_AGAIN_S = 30.0  # for a turn that Telegram's login, or a failure of ours, kept from ending
_LONGEST_PAUSE_S = 300.0
_LAST_SENDS_S = 5.0  # for answers that are being sent when the grace is over
_LEAVE_LIMIT_S = 3.0


class Worker:
    """Runs turns, one at a time in a chat, chats side by side, from `start` to `stop`.

    `alone` says that no other process runs turns of this bot, by design: then everything that
    is unfinished at the start is this worker's, and one that comes later ends it (`on_end`).
    `on_share` is told how many workers there are.
    """

    def __init__(
        self,
        database: Database,
        bot_id: int,
        turns: Turns,
        *,
        alone: bool,
        on_share: Callable[[int], None],
        on_end: Callable[[], object],
    ) -> None:
        self.id = ""
        self._database = database
        self._bot_id = bot_id
        self._turns = turns
        self._alone = alone
        self._on_share = on_share
        self._on_end = on_end
        self._chats: dict[int, asyncio.Task[None]] = {}
        self._again: set[int] = set()  # chats with something new since their last look
        self._passing: dict[int, asyncio.Task[None]] = {}  # by message id
        self._ticking: asyncio.Task[None] | None = None
        self._stopping = False

    async def start(self) -> None:
        """Register; one that is alone takes up at once what an earlier process left."""
        await self._register()
        if self._alone:
            self._run_all(await self._database.insist(self._take_over))
        self._ticking = asyncio.create_task(self._tick_for_ever())

    async def stop(self, grace_s: float) -> None:
        """Let running turns end for `grace_s`, then leave the rest to whoever comes next.

        The lease is kept meanwhile. What is being sent at the end of the grace is not cut off:
        it would come a second time.
        """
        self._stopping = True
        await self._wait_for_tasks(grace_s)
        await self._abandon()
        if self._ticking:
            self._ticking.cancel()
            with suppress(asyncio.CancelledError):
                await self._ticking
        try:
            async with asyncio.timeout(_LEAVE_LIMIT_S):
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

    # The tasks

    def _wake(self, chat_id: int, turn: Turn | None = None) -> None:
        if self._stopping:
            return  # whoever comes next finds it
        if chat_id in self._chats:
            self._again.add(chat_id)
            return
        task = asyncio.create_task(self._serve(chat_id, turn))
        self._chats[chat_id] = task
        metrics.RUNNING.set(len(self._chats))
        task.add_done_callback(lambda _: self._sleep(chat_id))

    def _sleep(self, chat_id: int) -> None:
        del self._chats[chat_id]
        metrics.RUNNING.set(len(self._chats))
        if chat_id in self._again:
            self._wake(chat_id)

    def _pass(self, turn: Turn) -> None:
        if turn.message_id in self._passing or self._stopping:
            return
        task = asyncio.create_task(self._run_passing(turn))
        self._passing[turn.message_id] = task
        task.add_done_callback(lambda _: self._passing.pop(turn.message_id))

    async def _wait_for_tasks(self, limit_s: float) -> None:
        if tasks := [*self._chats.values(), *self._passing.values()]:
            await asyncio.wait(tasks, timeout=limit_s)

    async def _abandon(self) -> None:
        """Cut off what is being written, but not what is being sent, and end all tasks."""
        self._turns.abandon()
        await self._wait_for_tasks(_LAST_SENDS_S)
        for task in [*self._chats.values(), *self._passing.values()]:
            task.cancel()
        await self._wait_for_tasks(_LAST_SENDS_S)

    async def _serve(self, chat_id: int, turn: Turn | None) -> None:
        """Run a chat's turns until there is none, which is when the chat is let go of."""
        pause = _TRY_AGAIN_S
        while True:
            self._again.discard(chat_id)
            try:
                turn = turn or await self._database.insist(self._next(chat_id))
                while turn is not None and not self._stopping:
                    turn = await self._run(turn)
                    pause = _TRY_AGAIN_S
            except ClaimLostError:
                log.warning("turn_was_another_workers")
                self._again.add(chat_id)  # the chat may be this one's again
            except UnfinishedError:
                await asyncio.sleep(_TRY_AGAIN_S)
                self._again.add(chat_id)
            except Exception as error:  # a failure of ours; the chat is still held
                log.exception("chat_failed", error=type(error).__name__)
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_S)
                self._again.add(chat_id)
            turn = None
            if chat_id not in self._again or self._stopping:
                return

    async def _run(self, turn: Turn) -> Turn | None:
        """Run a turn, note its end and return the chat's next."""
        note = await self._turns.run(turn, self.id)
        look = self._next(turn.chat_id)
        try:
            return await self._database.insist(_all(note, _finish(turn), look))
        except Exception as error:  # it was sent; nothing that cannot be noted may send it again
            log.exception("turn_not_noted", error=type(error).__name__)
            return await self._database.insist(_all(_finish(turn), look))

    async def _run_passing(self, turn: Turn) -> None:
        try:
            async with asyncio.timeout(_PASSING_LIMIT_S):
                note = await self._turns.run(turn, self.id)
            await self._database.insist(_all(note, _finish(turn)))
        except (UnfinishedError, TimeoutError):
            log.warning("passing_turn_left")  # the sweep takes it up as any forgotten message
        except Exception as error:
            log.exception("passing_turn_failed", error=type(error).__name__)

    def _next(self, chat_id: int) -> Work[Turn | None]:
        return lambda c: claims.next_turn(c, self._bot_id, chat_id, self.id)

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
                if alive is None and self._alone:
                    log.error("another_process_took_over")
                    self._on_end()
                    return
                if alive is None:
                    await self._start_over()
                    continue
                self._on_share(alive)
                await self._run_foreign_stops()
                await self._run_said()
                is_steady = now - self._steady_since >= _STEADY_S
                if is_steady and not self._stopping and now - swept >= _SWEEP_EVERY_S:
                    # Not insisted on: after a gap there would be nobody alive to leave chats to.
                    self._run_all(await self._database.run(self._take_over))
                    swept = now
            except Exception as error:  # the next round tries again
                log.warning("worker_tick_failed", error=type(error).__name__)

    async def _start_over(self) -> None:
        """Go on as a new worker: this one was taken for dead, and others have its chats."""
        log.warning("worker_taken_for_dead")
        await self._abandon()
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

    async def _run_said(self) -> None:
        """Run what admins said since the last tick: it was stored without a worker."""
        if self._stopping:
            return
        running = list(self._chats)
        found = await self._database.insist(
            lambda c: claims.take_said(c, self._bot_id, self.id, running)
        )
        for chat_id in found:
            self._wake(chat_id)

    def _take_over(self, connection: Connection) -> list[int]:
        return claims.take_over(connection, self._bot_id, self.id)

    def _run_all(self, taken: list[int]) -> None:
        chats = [chat_id for chat_id in taken if chat_id not in self._chats]
        if chats:
            log.info("chats_taken_over", count=len(chats))
            metrics.TAKEN_OVER.inc(len(chats))
        for chat_id in chats:
            self._wake(chat_id)


def _finish(turn: Turn) -> Work[None]:
    return lambda c: claims.finish(c, turn.message_id)


def _all(*works: Work[Any]) -> Work[Any]:
    """Return the works as one, with the result of the last."""

    def work(connection: Connection) -> Any:  # noqa: ANN401 - the last one's result
        return [one(connection) for one in works][-1]

    return work
