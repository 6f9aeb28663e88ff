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
from db.database import Database, is_passing
from db.queries import Incoming, Stored

log = structlog.get_logger()

RawUpdate = dict[str, Any]

_POLL_S = 30
_READ_S = 30.0
_LONGEST_PAUSE_S = 30.0
_STORE_LIMIT_S = 10.0  # Telegram waits longer, but may as well send the update again
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
        self._storing: set[asyncio.Task[None]] = set()

    async def receive(self, batch: list[RawUpdate]) -> None:
        """Store a batch in one transaction, however long the database is away."""
        incoming = [read for body in batch if (read := self._read(body))]
        if not incoming:
            return
        try:
            stored = await self._store(incoming)
        except Exception as error:
            if is_passing(error):
                raise
            stored = []
            for one in incoming:  # the one that cannot be stored must not hold up the others
                try:
                    stored += await self._store([one])
                except Exception as failure:
                    log.exception("update_unstorable", error=type(failure).__name__)
                    metrics.UPDATES.labels("unstorable").inc()
        metrics.UPDATES.labels("stored").inc(len(stored))
        for turn in stored:
            self._worker.take(turn)

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

    def webhook(self, secret: str) -> Handler:
        """Return the handler of Telegram's POSTs; without the secret they are refused.

        https://core.telegram.org/bots/api#setwebhook
        """

        async def handle(request: web.Request) -> web.Response:
            given = request.headers.get(_SECRET_HEADER, "")
            if not compare_digest(given.encode(), secret.encode()):
                return web.Response(status=HTTPStatus.FORBIDDEN)
            try:
                body = await request.json()
            except ValueError:
                body = None
            if not isinstance(body, dict):
                return web.Response(status=HTTPStatus.BAD_REQUEST)
            # Not cancelled with the request: what is stored has to reach the worker.
            storing = asyncio.ensure_future(self.receive([body]))
            self._storing.add(storing)
            storing.add_done_callback(self._storing.discard)
            try:
                await asyncio.wait_for(asyncio.shield(storing), _STORE_LIMIT_S)
            except TimeoutError:
                return web.Response(status=HTTPStatus.SERVICE_UNAVAILABLE)  # it comes again
            return web.Response()

        return handle
