"""What a bot process serves over HTTP: the webhook, its health and its numbers."""

import asyncio
import errno
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from bot import metrics
from bot.errors import OperatorError

WEBHOOK_PATH = "/telegram"
_READY_LIMIT_S = 3.0

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Door:
    """The open port. `webhook` and `check` are set when the bot behind it is there."""

    def __init__(self) -> None:
        self.webhook: Handler | None = None
        self.check: Callable[[], Awaitable[str | None]] | None = None

    def build(self) -> web.Application:
        """Return the web application; a reverse proxy should pass on `WEBHOOK_PATH` alone."""
        app = web.Application()
        app.add_routes(
            [
                web.post(WEBHOOK_PATH, self._take_update),
                web.get("/healthz", self._health),
                web.get("/readyz", self._ready),
                web.get("/metrics", self._metrics),
            ]
        )
        return app

    async def _take_update(self, request: web.Request) -> web.StreamResponse:
        if self.webhook is None:
            raise web.HTTPServiceUnavailable
        return await self.webhook(request)

    async def _health(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _ready(self, _: web.Request) -> web.Response:
        problem: str | None = "starting"
        if self.check:
            try:
                problem = await asyncio.wait_for(self.check(), _READY_LIMIT_S)
            except Exception as error:  # whatever keeps it from working
                problem = f"database: {type(error).__name__}"
        if problem is None:
            return web.json_response({"status": "ready"})
        return web.json_response({"status": "unready", "problem": problem}, status=503)

    async def _metrics(self, _: web.Request) -> web.Response:
        metrics.TASKS.set(len(asyncio.all_tasks()))
        return web.Response(
            body=await asyncio.to_thread(generate_latest),
            headers={"Content-Type": CONTENT_TYPE_LATEST},
        )


@asynccontextmanager
async def open_door(listen: str) -> AsyncIterator[Door]:
    """Serve on `host:port` while the context is entered. Raises `OperatorError`."""
    door = Door()
    host, _, port = listen.rpartition(":")
    runner = web.AppRunner(door.build(), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, int(port)).start()
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE
            reason = "다른 프로그램이 쓰고 있어요" if taken else f"열 수 없어요 ({error.strerror})"
            msg = f"{listen} 주소를 {reason}. LISTEN으로 다른 주소를 골라 주세요."
            raise OperatorError(msg) from error
        yield door
    finally:
        await runner.cleanup()
