"""The web server of the shop's pages."""

import errno
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

from bot.admin.adapters import AdapterPages
from bot.admin.door import Door, redirect
from bot.admin.estimates import EstimatePages
from bot.admin.export import ExportPages
from bot.admin.knowledge import KnowledgePages
from bot.admin.log import LogPages
from bot.admin.numbers import NumberPages
from bot.admin.reviews import ReviewPages
from bot.admin.roles import Role
from bot.admin.talks import TalkPages
from bot.admin.view import View
from bot.errors import OperatorError
from bot.library import Library
from db.database import Database

_STATIC = Path(__file__).parent / "static"
_MOST_UPLOAD = 20 * 1024 * 1024


def create_app(
    database: Database,
    library: Library,
    roles: Mapping[int, Role],
    *,
    url: str,
    shop_name: str,
    shop_phone: str,
) -> web.Application:
    """Build the application."""
    view = View(shop_name)
    door = Door(database, roles, url, view.explain)
    app = web.Application(middlewares=[door.guard], client_max_size=_MOST_UPLOAD)

    async def health(_: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def start(_: web.Request) -> web.Response:
        return redirect("/conversations")

    async def ask_to_sign_in(request: web.Request) -> web.Response:
        # A press is asked for: messengers open links to show a preview, which must use up nothing.
        return view.page(request, "sign_in", token=request.match_info["token"])

    app.add_routes(
        [
            web.get("/healthz", health),
            web.get("/", start),
            web.get("/login/{token}", ask_to_sign_in),
            web.post("/login/{token}", door.sign_in),
            web.post("/logout", door.let_in(Role.VIEWER, door.sign_out)),
            web.static("/static", _STATIC),
        ]
    )
    TalkPages(database, view).add_routes(app, door)
    ReviewPages(database, view).add_routes(app, door)
    KnowledgePages(database, library, view).add_routes(app, door)
    EstimatePages(database, view, shop_name, shop_phone).add_routes(app, door)
    ExportPages(database).add_routes(app, door)
    AdapterPages(database).add_routes(app, door)
    NumberPages(database, view).add_routes(app, door)
    LogPages(database, view, roles).add_routes(app, door)
    return app


@asynccontextmanager
async def serve(app: web.Application, listen: str) -> AsyncIterator[int]:
    """Serve on `host:port` and yield the real port. Raises `OperatorError`."""
    host, _, port = listen.rpartition(":")
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, int(port))
        try:
            await site.start()
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE
            reason = "다른 프로그램이 쓰고 있어요" if taken else f"열 수 없어요 ({error.strerror})"
            msg = f"{listen} 주소를 {reason}. ADMIN_LISTEN으로 다른 주소를 골라 주세요."
            raise OperatorError(msg) from error
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()
