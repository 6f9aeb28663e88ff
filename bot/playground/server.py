"""The playground's web server: Bot API, customers' API and page on one port of this machine."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

from bot.playground.botapi import BotApi, refusal
from bot.playground.controls import Controls
from bot.playground.customers import Customers
from bot.playground.errors import BotApiError, CustomerError
from bot.playground.faults import Faults
from bot.playground.params import MAX_UPLOAD
from bot.playground.store import Store
from bot.playground.updates import Updates
from bot.settings import is_loopback

PAGE = Path(__file__).parent / "page"

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
        "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_SENTENCES = {
    404: "그런 주소가 없습니다.",
    405: "이 주소에서는 쓸 수 없는 방법입니다.",
    413: "파일이 너무 큽니다. 50MB까지 보낼 수 있습니다.",
}

_OWN_HOST = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:\d+)?")

# For drivers in the same process, such as load tests.
UPDATES = web.AppKey("updates", Updates)
FAULTS = web.AppKey("faults", Faults)

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def create_app(
    store: Store, *, token: str, ready: Callable[[], bool] | None = None
) -> web.Application:
    """Build the application; `ready` tells /healthz whether the bot behind it is up."""
    bot_id = token.partition(":")[0]
    store.bot = {
        "id": int(bot_id) if bot_id.isdecimal() else 1,
        "is_bot": True,
        "first_name": "딥봇",
        "username": "deepbot_playground_bot",
    }
    updates = Updates(store)
    faults = Faults()
    app = web.Application(middlewares=[_guard, _errors], client_max_size=MAX_UPLOAD)
    app[UPDATES], app[FAULTS] = updates, faults
    BotApi(store, updates, faults, token).add_routes(app)
    Customers(store, updates).add_routes(app)
    Controls(faults).add_routes(app)

    async def health(_: web.Request) -> web.Response:
        if ready is None or ready():
            return web.json_response({"status": "ok"})
        return web.json_response({"status": "starting"}, status=503)

    async def index(_: web.Request) -> web.FileResponse:
        return web.FileResponse(PAGE / "index.html")

    async def start(_: web.Application) -> None:
        updates.start()

    async def stop(_: web.Application) -> None:
        store.hub.close()
        await updates.close()

    app.router.add_get("/healthz", health)
    app.router.add_get("/", index)
    app.router.add_static("/static", PAGE)
    app.on_startup.append(start)
    app.on_shutdown.append(stop)
    app.on_response_prepare.append(_add_headers)
    return app


@asynccontextmanager
async def serve(app: web.Application, port: int, host: str = "127.0.0.1") -> AsyncIterator[int]:
    """Serve on a loopback address for as long as the block runs; yields the port."""
    if not is_loopback(host):
        raise ValueError(f"the playground serves this machine only, not {host}")
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@web.middleware
async def _guard(request: web.Request, handler: _Handler) -> web.StreamResponse:
    """Refuse what a web page elsewhere could send here: DNS rebinding, cross-site requests."""
    if not _OWN_HOST.fullmatch(request.host):
        return web.json_response({"error": "이 컴퓨터에서만 열 수 있습니다."}, status=403)
    if request.headers.get("Origin", f"http://{request.host}") != f"http://{request.host}":
        return web.json_response({"error": "다른 사이트의 요청은 받지 않습니다."}, status=403)
    # An <img> of another site sends no Origin, but browsers say whose request it is.
    if request.headers.get("Sec-Fetch-Site", "none") not in {"none", "same-origin"}:
        return web.json_response({"error": "다른 사이트의 요청은 받지 않습니다."}, status=403)
    return await handler(request)


@web.middleware
async def _errors(request: web.Request, handler: _Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except BotApiError as error:
        return refusal(error)
    except CustomerError as error:
        return web.json_response({"error": error.sentence}, status=error.status)
    except web.HTTPException as error:
        if not request.path.startswith("/api/") or error.status not in _SENTENCES:
            raise
        return web.json_response({"error": _SENTENCES[error.status]}, status=error.status)


async def _add_headers(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(_HEADERS)
    response.headers.setdefault("Cache-Control", "no-cache")  # the page of today, not of an update
