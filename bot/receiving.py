"""Updates in: read, stored, and only then acknowledged to Telegram; by polling or by webhook."""

import asyncio
import json
from http import HTTPStatus
from secrets import compare_digest
from typing import Any, cast
from urllib.parse import urlencode

import structlog
from aiohttp import web
from telegram import Bot, Update

from bot import metrics, updates
from bot.telegram_api import AiohttpRequest
from bot.web import Handler
from bot.worker import Worker
from db import queries
from db.database import Database, is_bad_row
from db.queries import Incoming, Stored

log = structlog.get_logger()

RawUpdate = dict[str, Any]

_POLL_S = 30
_READ_S = 30.0
_LONGEST_PAUSE_S = 30.0
_STORE_LIMIT_S = 10.0  # Telegram waits longer, but may as well send the update again
_CLOSE_LIMIT_S = 2.0
_SECRET_HEADER = "X-Telegram-Bot-Api-Secret-Token"  # noqa: S105 - a header's name


class Receiver:
    """Stores updates and hands the turns they bring to the worker."""

    def __init__(
        self, bot: Bot, database: Database, worker: Worker, *, messages_a_minute: int
    ) -> None:
        self._bot = bot
        self._database = database
        self._worker = worker
        self._messages_a_minute = messages_a_minute
        self._storing: dict[object, asyncio.Task[None]] = {}  # by update id

    async def receive(self, batch: list[RawUpdate]) -> None:
        """Store a batch in one transaction, however long the database is away."""
        incoming = [read for body in batch if (read := self._read(body))]
        if not incoming:
            return
        try:
            stored = await self._store(incoming)
        except Exception as error:
            if not is_bad_row(error):
                raise  # not acknowledged, so it comes again
            stored = await self._store_one_by_one(incoming)
        metrics.UPDATES.labels("stored").inc(len(stored))
        for turn in stored:
            self._worker.take(turn)

    async def _store_one_by_one(self, incoming: list[Incoming]) -> list[Stored]:
        """Store what can be stored: what cannot must not hold up the rest."""
        stored: list[Stored] = []
        for one in incoming:
            try:
                stored += await self._store([one])
            except Exception as error:
                if not is_bad_row(error):
                    raise
                log.warning("update_unstorable", error=type(error).__name__)
                metrics.UPDATES.labels("unstorable").inc()
        return stored

    async def _store(self, incoming: list[Incoming]) -> list[Stored]:
        worker_id, limit = self._worker.id, self._messages_a_minute
        return await self._database.insist(
            lambda c: [s for one in incoming if (s := queries.store(c, one, worker_id, limit))]
        )

    def _read(self, body: RawUpdate) -> Incoming | None:
        """Read one update; one that cannot be read must not hold up those behind it."""
        try:
            return updates.read(Update.de_json(body, self._bot), self._bot.id, self._bot.username)
        except Exception as error:  # whatever the library raises on what it does not know
            log.warning("update_unreadable", error=type(error).__name__)
            metrics.UPDATES.labels("unreadable").inc()
            return None

    async def poll(self, request: AiohttpRequest) -> None:
        """Fetch updates for ever. A batch is stored before the next call tells Telegram so."""
        query = {"timeout": _POLL_S, "allowed_updates": json.dumps(updates.ALLOWED_UPDATES)}
        pause = 1.0
        while True:
            try:
                # Not `bot.get_updates`: there one update that it cannot parse fails the whole
                # batch, and the batch goes to the log.
                result = await request.post(
                    f"{self._bot.base_url}/getUpdates?{urlencode(query)}",
                    read_timeout=_POLL_S + _READ_S,
                )
                batch = cast(list[RawUpdate], result)
                await self.receive(batch)
                if batch:
                    query["offset"] = batch[-1]["update_id"] + 1
                pause = 1.0
            except Exception as error:
                # Nothing is lost: what is not stored is not acknowledged, so it comes again.
                log.warning("polling_failed", error=type(error).__name__, retry_in_s=pause)
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE_S)

    def _storing_of(self, body: RawUpdate) -> asyncio.Task[None]:
        """Return the task that stores an update, the same for all its deliveries.

        It is not cancelled with a request: what is stored has to reach the worker.
        """
        update_id = body.get("update_id")
        if storing := self._storing.get(update_id):
            return storing
        storing = asyncio.create_task(self.receive([body]))
        self._storing[update_id] = storing

        def forget(_: asyncio.Task[None]) -> None:
            del self._storing[update_id]

        storing.add_done_callback(forget)
        return storing

    async def close(self) -> None:
        """End what is still being stored; what was not acknowledged comes again."""
        storing = list(self._storing.values())
        if storing:
            await asyncio.wait(storing, timeout=_CLOSE_LIMIT_S)
        for task in storing:
            task.cancel()
        await asyncio.gather(*storing, return_exceptions=True)

    def webhook(self, secret: str) -> Handler:
        """Return the handler of Telegram's POSTs; without the secret they are refused.

        https://core.telegram.org/bots/api#setwebhook
        """

        async def handle(request: web.Request) -> web.Response:
            given = request.headers.get(_SECRET_HEADER, "")
            if not compare_digest(given.encode(errors="surrogateescape"), secret.encode()):
                return web.Response(status=HTTPStatus.FORBIDDEN)
            try:
                body = await request.json()
            except ValueError:
                body = None
            if not isinstance(body, dict):
                return web.Response(status=HTTPStatus.BAD_REQUEST)
            try:
                await asyncio.wait_for(asyncio.shield(self._storing_of(body)), _STORE_LIMIT_S)
            except Exception as error:  # it comes again
                log.warning("update_not_stored", error=type(error).__name__)
                return web.Response(status=HTTPStatus.SERVICE_UNAVAILABLE)
            return web.Response()

        return handle
